"""`/posts/<id>`: what a post says, why it stands where it stands, and what was decided about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, NamedTuple

from aiohttp import web
from confluent_kafka import KafkaException

from feedmill.console.feeds import Feeds, texts_by_id
from feedmill.console.logs import Logs
from feedmill.console.routes import NotFound, Route, Visit
from feedmill.console.texts import Place, Texts
from feedmill.console.view import Seen, Superseded, View
from feedmill.console.view_messages import AuthorAsk
from feedmill.events.errors import UsageError
from feedmill.events.weights import Weights
from feedmill.operations.changes import AuditRow
from feedmill.rankers.score import HOUR_MS, LEAST_SUM
from feedmill.streams.redis.explanation import Explanation, explain
from feedmill.streams.redis.reader import FeedSnapshot, PostSnapshot
from feedmill.streams.redis.scripts import Keys
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.tokens import VIEWER

_OTHERS, _HISTORY = 10, 50
_TEXTS_S = 1.0


class Term(NamedTuple):
    """What one thing adds to a score, in doublings; beside it the feed's first and last post."""

    name: str
    colour: str
    value: float
    first: float | None
    last: float | None


class Standing(NamedTuple):
    """Where a post stands in a feed; `rank` None where it is not in it."""

    feed: FeedSnapshot
    rank: int | None
    size: int
    explained: Explanation
    terms: list[Term]

    @property
    def parts(self) -> list[tuple[str, float]]:
        """Each objective's share of the value."""
        total = self.explained.total or 1.0
        terms = self.explained.objectives
        return [(one.name, one.contribution / total) for one in terms if one.contribution]

    @property
    def largest(self) -> float:
        """The longest bar."""
        return max((abs(term.value) for term in self.terms), default=0.0) or 1.0


def _show(visit: Visit) -> web.Response:
    return visit.page("post.html", names=visit.console.part(Feeds).names(), **_post(visit))


def _show_now(visit: Visit) -> web.Response:
    key = (visit.names["post_id"], visit.query("feed", "global"))
    return visit.part("post_now.html", lambda: _post(visit), *key)


def _post(visit: Visit) -> dict[str, Any]:
    post_id, feed = visit.names["post_id"], visit.query("feed", "global")
    console = visit.console
    reader = console.part(Feeds).reader
    post = reader.post(post_id)
    if not post.known:
        raise NotFound("post", post_id, _near_ids(visit, feed))
    texts = console.part(Texts)
    place = texts.place_of(post_id, post.post_offset)
    read = texts.read([place], _TEXTS_S)
    standing = _standing(visit, post, feed)
    others, other_texts = _others(visit, post)
    history = _history(visit, post)
    said = (post.fields, standing and standing.rank, len(history), place in read, others)
    return {
        "post": post,
        "feed": feed,
        "said": read.get(place),
        "is_known": place in read,
        "standing": standing,
        "others": others,
        "texts": other_texts,
        "history": history,
        "now_ms": now_ms(),
        "version": blake2b(repr(said).encode(), digest_size=8).hexdigest(),
    }


def _near_ids(visit: Visit, feed: str) -> list[str]:
    with suppress(NotFound):
        return [post.post_id for post in visit.console.part(Feeds).feed(feed, 500).posts]
    return []


def _standing(visit: Visit, post: PostSnapshot, name: str) -> Standing | None:
    """Explain the post by two members of the feed and its own rank: no list is read."""
    reader, keys = visit.console.part(Feeds).reader, Keys(visit.console.environment.redis_prefix)
    feed = reader.feed(name, 1)
    if feed is None:
        if name == "global":
            return None
        raise NotFound("feed", name, visit.console.part(Feeds).names())
    with reader.client.pipeline(transaction=False) as pipe:
        pipe.zrevrank(keys.feed(name), post.post_id)
        pipe.zscore(keys.feed(name), post.post_id)
        pipe.zrange(keys.feed(name), 0, 0)
        pipe.zcard(keys.feed(name))
        place, score, lowest, size = pipe.execute()
    at_ms = now_ms()
    absent = "" if score is not None else "its score does not reach the feed, or it does not match"
    explained = explain(post, feed, score, absent, at_ms)
    ends = [member for member, _ in feed.ranking] + [member.decode() for member in lowest]
    sides = [_doublings(feed.weights, one, at_ms) for one in reader.posts(ends)]
    first, last = (sides[0], sides[-1]) if sides else ({}, {})
    mine = _doublings(feed.weights, post, at_ms)
    mine |= {"demotion": math.log2(explained.factor)} if explained.factor < 1 else {}
    terms = [
        Term(name, _colour(name), value, first.get(name), last.get(name))
        for name, value in mine.items()
    ]
    return Standing(feed, None if place is None else place + 1, size, explained, terms)


def _doublings(weights: Weights, post: PostSnapshot, at_ms: int) -> dict[str, float]:
    """What a post is worth, what costs take of it, and what its age has cost until now."""
    total = sum(weight * (post.value(name, weights) or 0.0) for name, weight in weights.added)
    found = {"value": math.log2(max(total, LEAST_SUM))}
    for name, cost in weights.costs.items():
        found[f"cost of {name}"] = -cost * (post.value(name, weights) or 0.0)
    if weights.half_life_hours is not None:
        found["age"] = (post.created_ms - at_ms) / (weights.half_life_hours * HOUR_MS)
    return found


def _colour(term: str) -> str:
    return {"value": "quality", "age": "age", "demotion": "other"}.get(term, "cost")


def _others(visit: Visit, post: PostSnapshot) -> tuple[Seen, dict[str, Any]]:
    """The author's other posts, as far as the view has them by now."""
    page = f"post {post.post_id} {visit.visitor.csrf if visit.visitor else ''}"
    try:
        seen = visit.console.part(View).ask(page, AuthorAsk(post.author_id, _OTHERS + 1))
    except Superseded:
        return Seen(), {}
    shown = seen.result.posts if seen.result else ()
    places = {one.post_id: Place(one.partition, one.offset) for one in shown}
    return seen, texts_by_id(visit.console.part(Texts), places, _TEXTS_S)


def _history(visit: Visit, post: PostSnapshot) -> Sequence[AuditRow]:
    """What people did to the post and to its author, the newest first."""
    subjects = (f"post:{post.post_id}|", f"author:{post.author_id}|")
    rows: Sequence[AuditRow] = ()
    with suppress(KafkaException, UsageError):
        rows = visit.console.part(Logs).audit()
    return [
        row
        for row in rows
        if row.said.topic == "overrides" and (row.said.key or "").startswith(subjects)
    ][:_HISTORY]


ROUTES = (
    Route("GET", "/posts/{post_id}", VIEWER, _show),
    Route("GET", "/posts/{post_id}/now", VIEWER, _show_now),
)
