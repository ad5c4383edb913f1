"""What the topics of an engine demand by the contract, and what the engine shows of it."""

import json
from collections.abc import Collection, Sequence
from typing import Any

from builders.engine import KINDS, Engine
from builders.engine_topics import letter_positions
from chaos.verdict import Expected, Found, Json, LivePost, Position, Verdict, judge

REPEATED_WITHIN_MS = 10 * 60_000
DAY_MS = 24 * 3_600_000


def expected_of(
    engine: Engine, bad_records: Collection[Position] = (), counted: Sequence[Any] = ()
) -> Expected:
    """Fold `posts`, `overrides` and `engagements` in the order of their offsets.

    `counted` are records of `engagements` that are no longer there, but were once read.
    A user counts once a post, kind and day.
    Engagements of an unknown kind are bad records beside the given ones.
    Overrides are only read where they hide a post.  Counts are of posts that were never deleted:
    whether an event of another came before its deletion, no order tells.
    """
    bad = set(bad_records)
    hidden = {
        key.partition(":")[2].removesuffix("|*")
        for key, value in engine.latest("overrides").items()
        if value["verdict"] == "hide"
    }
    posts: dict[str, LivePost] = {}
    deleted: set[str] = set()
    for record in _valid(engine, "posts", bad):
        post_id, value = record.key.decode(), json.loads(record.value or "{}")
        if "text" in value:
            posts[post_id] = _live_post(record, value, hidden)
        else:
            posts.pop(post_id, None)
            deleted.add(post_id)
    counts = {post_id: [0] * len(KINDS) for post_id in posts.keys() - deleted}
    seen_ms: dict[tuple[str, str], int] = {}
    users: set[tuple[str, str, str, int]] = set()
    for record in (*counted, *_valid(engine, "engagements", bad)):
        value = json.loads(record.value)
        if value["kind"] not in KINDS:
            bad.add(("engagements", record.partition, record.offset))
            continue
        key = (value["post_id"], value.get("event_id", f"none@{record.partition}.{record.offset}"))
        before_ms = seen_ms.get(key, -REPEATED_WITHIN_MS - 1)
        seen_ms[key] = record.timestamp
        is_repeated = record.timestamp - before_ms <= REPEATED_WITHIN_MS
        user = value["post_id"], value["user_id"], value["kind"], record.timestamp // DAY_MS
        is_repeated = is_repeated or user in users
        users.add(user)
        if value["post_id"] in counts and not is_repeated:
            counts[value["post_id"]][KINDS.index(value["kind"])] += 1
    return Expected(posts, counts, frozenset(bad))


def _valid(engine: Engine, topic: str, bad: Collection[Position]) -> list[Any]:
    return [
        record
        for record in engine.read_all(topic)
        if (topic, record.partition, record.offset) not in bad
    ]


def _live_post(record: Any, value: Json, hidden: Collection[str]) -> LivePost:
    post_id = value["post_id"]
    feeds = {"global", *(f"community:{c}" for c in value.get("communities", ()))}
    if "lang" in value:
        feeds.add(f"lang:{value['lang']}")
    return LivePost(
        post_id,
        record.offset,
        value["author_id"],
        min(value["created_at_ms"], record.timestamp),
        frozenset(feeds if "in_reply_to" not in value else ()),
        post_id in hidden,
    )


def found_of(engine: Engine, expected: Expected, letters_before: int = 0) -> Found:
    """Read all that the engine shows; so many of the dead letters are of an earlier reading."""
    names = sorted({name for post in expected.posts.values() for name in post.feeds} | {"global"})
    letters: list[Position] = []
    for record in engine.read_all("dead-letters")[letters_before:]:
        letters += letter_positions(record.headers, record.value)
    return Found(
        truths=engine.truths(),
        feeds={name: engine.feed(name) for name in names},
        signals={
            name: engine.latest(f"signals.{name}") for name in (*engine.gates, *engine.objectives)
        },
        counts={p: state["counters"]["counts"] for p, state in engine.latest("counters").items()},
        dead_letters=letters,
    )


def verdict_of(
    engine: Engine,
    bad_records: Collection[Position] = (),
    counted: Sequence[Any] = (),
    letters_before: int = 0,
) -> Verdict:
    """Judge an engine as it stands now; see `chaos.recovery.settled` to wait for it."""
    expected = expected_of(engine, bad_records, counted)
    return judge(expected, found_of(engine, expected, letters_before))
