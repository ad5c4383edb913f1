"""`/feeds/<feed>`: the best posts of a feed, as they are now."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from aiohttp import web

from feedmill.console.feeds import Feeds, SeenFeed
from feedmill.console.routes import Route, Visit
from feedmill.console.words import parts_of_score
from feedmill.events.post import Post
from feedmill.operations.times import age_text
from feedmill.streams.redis.reader import PostSnapshot
from feedmill.streams.tokens import VIEWER

TOP, _SEARCHED = 50, 500
_TEXTS_S, _MORE_TEXTS_S = 0.4, 0.8


def _show(visit: Visit) -> web.Response:
    return visit.page("feed.html", names=visit.console.part(Feeds).names(), **_list(visit))


def _show_rows(visit: Visit) -> web.Response:
    key = (visit.names["feed"], visit.query("arm"), visit.query("search"))
    return visit.part("feed_rows.html", lambda: _list(visit), *key)


def _list(visit: Visit) -> dict[str, Any]:
    feeds, feed = visit.console.part(Feeds), visit.names["feed"]
    arm, search = visit.query("arm"), visit.query("search").strip()
    seen = feeds.feed(feed, _SEARCHED if search else TOP, arm)
    texts = feeds.texts_of(seen.posts, _MORE_TEXTS_S if search else _TEXTS_S)
    rows = _rows(seen, texts, search)
    state = seen.snapshot.state(seen.at_ms) if seen.snapshot and not seen.is_away else ""
    said = f"{seen.is_away} {state} {len(texts)} {[(r['post'].post_id, r['age']) for r in rows]}"
    version = seen.snapshot.version if seen.snapshot else 0
    return {
        "feed": feed,
        "arm": arm,
        "search": search,
        "seen": seen,
        "rows": rows[:TOP],
        "state": state,
        "unread": len(seen.posts) - len(texts),
        "version": f"{version}-{blake2b(said.encode(), digest_size=8).hexdigest()}",
    }


def _rows(seen: SeenFeed, texts: dict[str, Post | None], search: str) -> list[dict[str, Any]]:
    if seen.snapshot is None:
        return []
    weights, rows = seen.snapshot.weights, []
    for rank, ((_, score), post) in enumerate(
        zip(seen.snapshot.ranking, seen.posts, strict=True), 1
    ):
        said = texts.get(post.post_id)
        if search and not _has(search, post, said):
            continue
        signals = {name: post.value(name, weights) for name in (*weights.scale, *weights.costs)}
        rows.append(
            {
                "rank": rank,
                "score": score,
                "post": post,
                "said": said,
                "is_known": post.post_id in texts,
                "age": age_text(seen.at_ms - post.created_ms) if post.known else "",
                "parts": parts_of_score(weights.as_dict(), signals),
            }
        )
    return rows


def _has(search: str, post: PostSnapshot, said: Post | None) -> bool:
    wanted = search.casefold()
    places = (post.post_id, post.author_id, "" if said is None else said.text)
    return any(wanted in place.casefold() for place in places)


ROUTES = (
    Route("GET", "/feeds/{feed}", VIEWER, _show),
    Route("GET", "/feeds/{feed}/rows", VIEWER, _show_rows),
)
