"""The same posts, engagements and settings every time, and what a whole engine makes of them.

Nothing recorded depends on when it runs: posts were created, and engagements happened, a fixed
time before now, and the recency is taken off the scores.  Names are of this test alone, so that
other tests' posts in the same engine change no flagged share and no feed of it.
"""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from builders.engine import GATES, KINDS, Engine
from builders.engine_topics import Json
from builders.golden_texts import EDGES, changed, disguised, drawn
from builders.golden_texts import KINDS as TEXT_KINDS
from builders.waiting import now_ms, until

RECORDED = Path(__file__).parents[1] / "e2e" / "recorded_engine.json"
COMMUNITY = "golden"
FEED = f"community:{COMMUNITY}"
SIGNALS = (*GATES, "quality", "engagement")
WEIGHTS = {
    **{"quality": 0.7, "engagement": 0.4, "scale": {"engagement": 20}},
    "costs": {"hide": 0, "report": 0},
    **{"half_life_hours": 12, "max_per_author": 3},
}
EPOCH_MS = 1_577_836_800_000
HALF_LIFE_MS = 12 * 3_600_000
MINUTE_MS = 60_000
CAMPAIGN = (
    "Neighbours, the golden lantern parade starts behind the station on Friday, bring a lamp and "
    "warm gloves, and tell everybody you know about the wonderful evening"
)


@dataclass
class Sent:
    """What was sent, to know when the engine has dealt with all of it."""

    base_ms: int
    offsets: dict[str, int] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    weights: int = -1


@contextlib.contextmanager
def recorded_posts(engine: Engine) -> Iterator[Sent]:
    """Send everything; afterwards take it back, as the engine may be shared."""
    random, sent = Random(20_240_602), Sent(now_ms())
    sent.weights = engine.set(f"weights/{FEED}", WEIGHTS)
    try:
        _send_posts(engine, random, sent)
        _send_campaign(engine, random, sent)
        _send_changes(engine, random, sent)
        _send_overrides(engine, sent)
        _send_engagements(engine, random, sent)
        yield sent
    finally:
        for key in sent.overrides:
            engine.send("overrides", key, None)
        for post_id in sent.offsets:
            engine.send("posts", post_id, None)
        engine.wait_applied(engine.set(f"weights/{FEED}", None))
        until(lambda: not engine.truths(list(sent.offsets)))


def _post(engine: Engine, sent: Sent, number: int, text: str, **more: Any) -> None:
    """Write a post, the acknowledged one before the next: the filters know its place in time."""
    post_id = f"golden-{number}"
    given = {
        "author_id": f"golden-author-{number}",
        "created_at_ms": sent.base_ms - (number * 97 % 60 + 5) * 7 * MINUTE_MS,
        "communities": [COMMUNITY],
        "lang": "x-golden",
    }
    sent.offsets[post_id] = engine.post(post_id, text, **{**given, **more})
    time.sleep(0.003)


def _send_posts(engine: Engine, random: Random, sent: Sent) -> None:
    for number in range(36):
        text = drawn(list(TEXT_KINDS)[number % len(TEXT_KINDS)], random)
        text = disguised(text, random) if number % 5 == 4 else text
        _post(engine, sent, number, text)
    for number, text in enumerate(EDGES[:8], 40):
        _post(engine, sent, number, text)
    text = "A picture from the harbour this morning"
    _post(engine, sent, 50, text, self_labels=["porn"])
    _post(engine, sent, 51, text, in_reply_to="golden-1")
    _post(engine, sent, 52, text, created_at_ms=sent.base_ms + 24 * 3_600_000)
    _post(engine, sent, 53, text, links=["https://golden.example/covid-hoax-exposed"])
    for number in range(54, 59):
        _post(engine, sent, number, drawn("ordinary", random), author_id="golden-author")


def _send_campaign(engine: Engine, random: Random, sent: Sent) -> None:
    for number in range(60, 72):
        _post(engine, sent, number, changed(CAMPAIGN, random))


def _send_changes(engine: Engine, random: Random, sent: Sent) -> None:
    """Edits, and deletions after which the engine must know nothing of the posts."""
    for number in (3, 6, 9):
        _post(engine, sent, number, drawn("rated", random))
    sent.deleted = ["golden-12", "golden-60"]
    for post_id in sent.deleted:
        engine.send("posts", post_id, None).get(30)
        del sent.offsets[post_id]


def _send_overrides(engine: Engine, sent: Sent) -> None:
    given = {"by": "mo", "reason": "seen", "at_ms": sent.base_ms}
    overrides = {
        "post:golden-0|*": {**given, "verdict": "hide"},
        "post:golden-1|spam": {
            **given,
            "verdict": "allow",
            "post_offset": sent.offsets["golden-1"],
        },
        "author:golden-author-24|*": {**given, "verdict": "demote"},
    }
    for key, override in overrides.items():
        sent.overrides.append(key)
        engine.send("overrides", key, override).get(30)


def _send_engagements(engine: Engine, random: Random, sent: Sent) -> None:
    """Every kind, some of them repeated: what decays hangs on the times between them alone."""
    seen, futures = dict[tuple[str, int], int](), []
    for number in range(150):
        post_id, event = f"golden-{random.randrange(24, 32)}", random.randrange(40)
        is_first = (post_id, event) not in seen
        user = seen.setdefault((post_id, event), number)
        given = {
            "post_id": post_id,
            "user_id": f"golden-user-{user}",
            "kind": random.choice((*KINDS, "impression", "impression", "click")),
            "at_ms": sent.base_ms - random.randrange(1, 600) * MINUTE_MS,
            "event_id": f"event-{event}",
            "dwell_ms": 1500.5,
        }
        # A user who saw no impression hides and reports in vain.
        if is_first and given["kind"] not in ("hide", "report"):
            sent.counted[post_id] = sent.counted.get(post_id, 0) + 1
        futures.append(engine.send("engagements", post_id, given))
    for future in futures:
        future.get(30)


def settled(engine: Engine, sent: Sent) -> Json:
    """Wait until Redis shows the last of everything; what it shows, without what is of its time."""
    engine.wait_applied(sent.weights)
    until(lambda: _has_counted(engine, sent), 60, every=0.3)
    until(lambda: not engine.truths(sent.deleted))
    truths: dict[str, Json] = until(lambda: _last_truths(engine, sent), 60, every=0.3)
    entries, info = engine.feed(FEED)
    assert json.loads(info["weights"])["half_life_hours"] == WEIGHTS["half_life_hours"]
    scores = {
        post_id: score - (int(truths[post_id]["created_ms"]) - EPOCH_MS) / HALF_LIFE_MS
        for post_id, score in entries
    }
    return {
        "decisions": {p: [t["decision"], t.get("decided_by", "")] for p, t in truths.items()},
        "values": {p: {name: t[name]["value"] for name in SIGNALS} for p, t in truths.items()},
        "models": {name: _models(truths, name) for name in SIGNALS},
        "age_ms": {
            p: sent.base_ms - int(t["created_ms"]) for p, t in truths.items() if p != "golden-52"
        },
        "scores": scores,
    }


def _models(truths: Mapping[str, Json], name: str) -> list[str]:
    return sorted({f"{truth[name]['model']}@{truth[name]['version']}" for truth in truths.values()})


def _has_counted(engine: Engine, sent: Sent) -> bool:
    counters = engine.latest("counters")
    found = {
        p: sum(given["counters"]["counts"]) for p, given in counters.items() if p in sent.counted
    }
    return found == sent.counted


def _last_truths(engine: Engine, sent: Sent) -> dict[str, Json] | None:
    """What Redis shows of the posts, once it has all that the topics have."""
    truths = engine.truths(list(sent.offsets))
    latest = {name: engine.latest(f"signals.{name}") for name in SIGNALS}
    for post_id, offset in sent.offsets.items():
        truth = truths.get(post_id, {})
        for name in SIGNALS:
            last, shown = latest[name].get(post_id), truth.get(name)
            if last is None or shown is None or last["post_offset"] != offset:
                return None
            if any(shown[part] != last[part] for part in ("value", "post_offset", "at_ms")):
                return None
    overridden = {p for p, truth in truths.items() if "override" in truth}
    return truths if overridden == {"golden-0", "golden-1", "golden-24"} else None
