"""A day of posts and engagements, and what an engine must come to whatever happens to it."""

import random
import time
from dataclasses import dataclass
from typing import Any

from builders.engine import KINDS, Engine
from builders.engine_topics import Json
from builders.waiting import until

COMMUNITIES = ("gardening", "cycling", "cooking")
WORDS = "rain bread maps birds trains songs apples stories bridges lamps kites".split()  # noqa: SIM905 - a list of words
SPAM = "FREE MONEY!!! Click http://win-cash.example now, 100% guaranteed prize, claim your reward"


@dataclass
class Workload:
    """Posts and engagements of the day before, the same whenever they are made."""

    records: list[tuple[str, str, Json | None]]
    deleted: set[str]
    counts: dict[str, list[int]]


def workload(base_ms: int, posts: int = 500, engagements: int = 4000) -> Workload:
    drawn = random.Random(5)
    ids = [f"post-{i:04d}" for i in range(posts)]
    deleted = set(ids[::25])
    records: list[tuple[str, str, Json | None]] = []
    counts = {p: [0] * len(KINDS) for p in ids if p not in deleted}
    events: list[Json] = []
    for n in range(engagements):
        post = drawn.choice([p for p in ids[: 20 + n * posts // engagements] if p not in deleted])
        kind = drawn.choices(KINDS, (60, 20, 8, 3, 2, 5, 1, 1))[0]
        if n > 100 and n % 10 == 0:
            event = events[n - 10 * drawn.randrange(1, 10) - 5]  # one of a known id once more
        elif n > 100 and n % 10 == 3:
            # Its user does the same once more, under another id.
            event = {**events[n - drawn.randrange(1, 100)], "event_id": f"again-{n}"}
        else:
            event = {"post_id": post, "user_id": f"u{n}", "kind": kind}
            event["at_ms"] = base_ms + drawn.randrange(80_000_000)
            counts[post][KINDS.index(kind)] += 1
            if n % 10 == 5:
                event["event_id"] = f"e{n}"
        events.append(event)
    for i, post in enumerate(ids):
        text = (
            SPAM if i % 20 == 7 else f"{drawn.choice(WORDS)} and {drawn.choice(WORDS)}, {i} times"
        )
        value = {
            "post_id": post,
            "author_id": f"author-{i % 200}",
            "created_at_ms": base_ms + i * 1000,
            "text": text,
            "communities": [COMMUNITIES[i % 3]],
            "lang": "en",
        }
        records.append(("posts", post, value))
        if i % 30 == 3:
            records.append(("posts", post, {**value, "text": text + " (edited)"}))
        if post in deleted:
            records.append(("posts", post, None))
        share = engagements // posts
        records += [("engagements", e["post_id"], e) for e in events[i * share : (i + 1) * share]]
    return Workload(records, deleted, counts)


def send(engine: Engine, records: list[tuple[str, str, Json | None]], rate: float = 0) -> None:
    start = time.monotonic()
    for n, record in enumerate(records):
        engine.send(*record)
        if rate and n % 10 == 0:
            time.sleep(max(0.0, start + n / rate - time.monotonic()))
    engine.producer.flush(30)


def settle(engine: Engine, work: Workload) -> dict[str, list[tuple[str, float]]]:
    """Wait until nothing moves any more; all feeds, which agree with `signals:`."""
    engine.wait_ready(seconds=60)
    engine.wait_decided(work.counts)
    until(lambda: counted(engine) == work.counts, 60, every=1)
    last: Any = None

    def still() -> bool:
        nonlocal last
        before, last = last, (feeds(engine), engine.truths())
        return bool(before == last)

    until(still, 30, every=1)
    truths = engine.truths()
    assert set(truths) == set(work.counts)
    engine.check_feed("global", truths)
    return feeds(engine)


def feeds(engine: Engine) -> dict[str, list[tuple[str, float]]]:
    return {
        name: engine.feed(name)[0]
        for name in ("global", "lang:en", *(f"community:{c}" for c in COMMUNITIES))
    }


def counted(engine: Engine) -> dict[str, list[int]]:
    return {post: state["counters"]["counts"] for post, state in engine.latest("counters").items()}


def assert_same(
    found: dict[str, list[tuple[str, float]]], wanted: dict[str, list[tuple[str, float]]]
) -> None:
    for name, entries in wanted.items():
        assert len(entries) > 100
        assert [p for p, _ in found[name]] == [p for p, _ in entries], name
        for (_, one), (_, other) in zip(found[name], entries, strict=True):
            assert abs(one - other) <= 1e-9
