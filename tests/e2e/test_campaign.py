"""A copy-paste campaign is hidden from its tenth copy on, by any instance and after any crash."""

import json
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from builders.engine import Engine
from builders.engine_topics import Json
from builders.waiting import now_ms, until
from feedmill.features.history.post_history import CopyCounts, PostHistory, PostRecord
from feedmill.filters.raised_values import campaign_reason

pytestmark = pytest.mark.stack
TEXT = (
    "Our kitchen turned into a little bakery this spring and every loaf comes with a story,"
    " come by and taste one before summer"
)
HEADLINE = (
    "The old bridge over the northern canal closes for repairs until the second week of autumn"
)
COPIES, SECONDS, RATE = 30, 6, 400
# A busy machine stamps two copies within milliseconds, and brings the second one first.
APART_S = 0.05
SPARE = "often today maybe really almost quietly again everyone finally somewhere".split()  # noqa: SIM905 - shorter
SYLLABLES = "ba do ke lim ra sto ter un vi wen mor a sil ku pra".split()  # noqa: SIM905 - shorter
GATES = {"nsfw": {"enabled": False}, "misinformation": {"enabled": False}}


def changed(text: str, drawn: random.Random) -> str:
    """A text with one or two small changes: a word, a number, a mark, an emoji, capitals."""
    words = text.split()
    for _ in range(drawn.choice((1, 2))):
        at = drawn.randrange(len(words))
        change = drawn.choice(("word", "number", "mark", "emoji", "case"))
        if change == "word":
            words[at] = drawn.choice(SPARE)
        elif change == "number":
            words.insert(at, str(drawn.randrange(1000)))
        elif change == "mark":
            words[at] += drawn.choice("!.,;?")
        elif change == "emoji":
            words.insert(at, drawn.choice(("\U0001f35e", "\U0001f600", "\u2728")))
        else:
            words[at] = words[at].upper()
    return " ".join(words)


def ordinary(drawn: random.Random) -> Iterator[str]:
    """Sentences of 15 to 25 words, each word drawn from some thousands."""
    names = ["".join(drawn.choices(SYLLABLES, k=drawn.randrange(1, 4))) for _ in range(3000)]
    while True:
        yield " ".join(drawn.choices(names, k=drawn.randrange(15, 26))).capitalize() + "."


def posts(seed: int) -> list[Json]:
    """`SECONDS` of ordinary posts; the campaign and the reposts of a headline spread over them."""
    drawn = random.Random(seed)
    texts = ordinary(drawn)
    found: list[Json] = []
    total = SECONDS * RATE
    for n in range(total):
        post = {"post_id": f"plain-{n}", "author_id": f"u{n % 900}", "text": next(texts)}
        found.append(post)
        if n % (total // COPIES) == 7:
            name = f"copy-{n * COPIES // total:02d}"
            found.append({"post_id": name, "author_id": f"of-{name}", "text": changed(TEXT, drawn)})
        if n % (total // 5) == 11:
            name = f"repost-{n * 5 // total}"
            found.append({"post_id": name, "author_id": f"of-{name}", "text": HEADLINE})
    # The history goes by the records' times; those of the events do not matter.
    return [{**p, "created_at_ms": now_ms() - drawn.randrange(80_000_000)} for p in found]


def send(engine: Engine, wanted: list[Json], at: dict[int, Callable[[], None]]) -> None:
    """Send them at `RATE`, each copy apart: see the limit that `filter_history.py` tells of."""
    start = time.monotonic()
    for n, post in enumerate(wanted):
        if n in at:
            at[n]()
        is_apart = not post["post_id"].startswith("plain-")
        if is_apart:
            engine.producer.flush(30)
        engine.send("posts", post["post_id"], post)
        if is_apart:
            engine.producer.flush(30)
            time.sleep(APART_S)
        if n % 10 == 0:
            time.sleep(max(0.0, start + n / RATE - time.monotonic()))
    engine.producer.flush(30)


def check(engine: Engine, sent: list[Json]) -> None:
    """Check decisions in Redis and reasons on the topic."""
    copies = sorted(p["post_id"] for p in sent if p["post_id"].startswith("copy-"))
    reposts = [p["post_id"] for p in sent if p["post_id"].startswith("repost-")]
    assert (len(copies), len(reposts)) == (COPIES, 5)
    engine.wait_decided([p["post_id"] for p in sent], 60)
    truths = engine.truths(copies + reposts)
    decisions = [truths[p]["decision"] for p in copies]
    assert decisions[9:] == ["hide"] * (COPIES - 9), decisions
    assert decisions[:5] == ["show"] * 5, decisions
    assert [truths[p]["decision"] for p in reposts] == ["show"] * 5
    # Redis shows a decision before it is committed.
    ids = {p["post_id"] for p in sent}
    until(lambda: ids <= engine.latest("signals.spam").keys(), every=0.5)
    signals = engine.latest("signals.spam")
    pasts = whole_history(engine)
    for post, signal in signals.items():
        expected = campaign_reason(pasts[post])
        # Where the model's own value is higher, the campaign is not the reason.
        assert signal.get("reason") in ((expected,) if pasts[post].copies > 7 else (expected, None))


def whole_history(engine: Engine) -> dict[str, CopyCounts]:
    """By post the copies that one fold over the whole topic, in merged order, finds."""
    records = engine.read_all("posts")
    records.sort(key=lambda r: (r.timestamp, r.partition, r.offset))
    values = [json.loads(r.value) for r in records]
    pasts = PostHistory().fold(
        [
            PostRecord(r.timestamp, v["post_id"], v["author_id"], v["text"])
            for r, v in zip(records, values, strict=True)
        ]
    )
    return {v["post_id"]: past for v, past in zip(values, pasts, strict=True)}


def test_a_campaign_is_hidden_from_the_tenth_copy_on_whatever_ends(start_engine: Any) -> None:
    """One takes over, the other comes back, both end at once and come back to a backlog."""
    engine: Engine = start_engine("spam", "combiner")
    engine.start("spam", tag="-2")
    engine.wait_ready()
    engine.wait_applied(engine.set("gates", GATES))

    def end_both() -> None:
        engine.workers["spam"].kill()
        engine.workers["spam-2"].kill()

    sent = posts(2)
    tenth = len(sent) // 10
    faults: dict[int, Callable[[], None]] = {
        tenth: engine.workers["spam"].kill,
        5 * tenth: partial(engine.restart, "spam"),
        8 * tenth: end_both,
    }
    send(engine, sent, faults)
    engine.restart("spam")
    engine.restart("spam-2")
    check(engine, sent)
