"""What the topics of an engine demand by the contract, and what the engine shows of it."""

import json
from collections.abc import Collection, Sequence

from builders.engine import KINDS, Engine
from builders.engine_topics import Record, counts_of
from chaos.verdict import Expected, Found, Json, LivePost, Position
from feedmill.streams.engagement.repeated_engagements import COMPLAINTS

REPEATED_WITHIN_MS = 10 * 60_000
DAY_MS = 24 * 3_600_000


def expected_of(engine: Engine, counted: Sequence[Record] = ()) -> Expected:
    """Fold `posts`, `overrides` and `engagements` in the order of their offsets.

    `counted` are records of `engagements` that are no longer there, but were once read.
    A user counts once a post, kind and day; a hide or report only of a user with an impression of
    the post on that day or the day before.
    Engagements of an unknown kind are bad records.
    Overrides are only read where they hide a post.  Counts are of posts that were never deleted:
    whether an event of another came before its deletion, no order tells.
    """
    bad: set[Position] = set()
    hidden = {
        key.partition(":")[2].removesuffix("|*")
        for key, value in engine.latest("overrides").items()
        if value["verdict"] == "hide"
    }
    posts: dict[str, LivePost] = {}
    deleted: set[str] = set()
    for record in engine.records("posts"):
        post_id, value = record.key.decode(), json.loads(record.value or b"{}")
        if "text" in value:
            posts[post_id] = _live_post(record, value, hidden)
        else:
            posts.pop(post_id, None)
            deleted.add(post_id)
    counts = {post_id: [0] * len(KINDS) for post_id in posts.keys() - deleted}
    seen_ms: dict[tuple[str, str], int] = {}
    users: set[tuple[str, str, str, int]] = set()
    for record in (*counted, *engine.records("engagements")):
        value = json.loads(record.value or b"{}")
        if value["kind"] not in KINDS:
            bad.add(("engagements", record.partition, record.offset))
            continue
        key = (value["post_id"], value.get("event_id", f"none@{record.partition}.{record.offset}"))
        before_ms = seen_ms.get(key, -REPEATED_WITHIN_MS - 1)
        seen_ms[key] = record.timestamp
        is_repeated = record.timestamp - before_ms <= REPEATED_WITHIN_MS
        post_id, user_id, day = value["post_id"], value["user_id"], record.timestamp // DAY_MS
        user = post_id, user_id, value["kind"], day
        is_repeated = is_repeated or user in users
        users.add(user)
        seen = {(post_id, user_id, "impression", day - back) for back in (0, 1)}
        if value["kind"] in COMPLAINTS and users.isdisjoint(seen):
            continue
        if value["post_id"] in counts and not is_repeated:
            counts[value["post_id"]][KINDS.index(value["kind"])] += 1
    return Expected(posts, counts, frozenset(bad))


def _live_post(record: Record, value: Json, hidden: Collection[str]) -> LivePost:
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
    return Found(
        truths=engine.truths(),
        feeds={name: engine.feed(name) for name in names},
        signals={name: engine.latest(f"signals.{name}") for name in engine.written},
        counts={p: counts_of(state) for p, state in engine.latest("counters").items()},
        dead_letters=engine.lettered(letters_before),
    )
