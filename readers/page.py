"""A page of a feed for a user, what explains it, and the cursor of the next page."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np

from feedmill.events.weights import Weights
from feedmill.experiments.assignment import arm_of
from feedmill.rankers.combiner.columns import Rows
from feedmill.rankers.combiner.gate_decisions import SHOW, GateDecisions, decide_rows
from feedmill.readers.best_posts import Question, Ranked, best_posts
from feedmill.readers.pool import ListPolicy, Pool, ServedFeed
from feedmill.readers.request import BadRequest, PageRequest

HASH_BYTES = 6
# After so many posts a user has scrolled to the end: a cursor of 8 kB.
MOST_SHOWN = 1_000
_CHECK_BYTES = 6


def hash_of(post_id: str) -> bytes:
    """Return what a cursor holds of a post."""
    return sha256(post_id.encode()).digest()[:HASH_BYTES]


def cursor_of(feed: str, shown: Iterable[bytes]) -> str:
    """Write the cursor of a feed: safe in a URL, of 8 characters a post."""
    hashes = b"".join(shown)
    return base64.urlsafe_b64encode(_check(feed, hashes) + hashes).decode()


def shown_in(feed: str, cursor: str | None) -> dict[bytes, None]:
    """Read a cursor, in the order of the posts.

    Raises `BadRequest`: it is none of this feed.
    """
    if cursor is None:
        return {}
    try:
        data = base64.b64decode(cursor, b"-_", validate=True)
    except ValueError:
        data = b""
    check, hashes = data[:_CHECK_BYTES], data[_CHECK_BYTES:]
    if check != _check(feed, hashes) or len(hashes) > MOST_SHOWN * HASH_BYTES:
        raise BadRequest(
            f"Expected the `cursor` of a page of this feed, got {cursor[:40]!r} - at `$.cursor`;"
            " leave it out for the first page"
        )
    places = range(0, len(hashes), HASH_BYTES)
    return dict.fromkeys(hashes[at : at + HASH_BYTES] for at in places)


def _check(feed: str, hashes: bytes) -> bytes:
    return sha256(feed.encode() + b"\0" + hashes).digest()[:_CHECK_BYTES]


# Each turn decides at least one more post anew; ends of overrides and graces are few at a time.
_MOST_TURNS = 50


class UserList(NamedTuple):
    """What a user reads of a feed: the arm, None outside of experiments, and the policy of it.

    `list_name` is what the list is called in Redis, without the prefix.
    """

    arm: str | None
    list_name: str
    policy: ListPolicy


def list_of(feed: ServedFeed, user_id: str | None) -> UserList:
    """Return the list of a user, that of the feed where no experiment runs."""
    whole = f"feed:{{{feed.name}}}"
    if feed.experiment is None or user_id is None:
        return UserList(None, whole, feed.policies[""])
    name, setting = feed.experiment
    arms = [(arm.name, arm.share) for arm in setting.arms]
    arm = arm_of(setting.salt, name, user_id, setting.traffic, arms)
    named = f"{name}.{arm}"
    if named not in feed.policies:  # the control, or nobody's
        return UserList(arm, whole, feed.policies[""])
    return UserList(arm, f"{whole}:arm:{named}", feed.policies[named])


class Page(NamedTuple):
    """What `page_of` found: what the answer says of a page, and by what it was ranked."""

    answer: dict[str, Any]
    weights: Weights
    decisions: GateDecisions


def page_of(pool: Pool, feed: ServedFeed, request: PageRequest, now_ms: int) -> Page:
    """Return a page of the best posts of now that the cursor does not name.

    The pool must have followed all that was read.  Before the page is returned its posts are
    decided once more, because ends of overrides and of graces, and new overrides of authors, take
    a while to be found.

    Raises `BadRequest`: the cursor is none, or no weight is left above 0.
    """
    shown = shown_in(feed.name, request.cursor)
    user_list = list_of(feed, request.user_id)
    decisions = user_list.policy.decisions
    weights = request.weights_in(user_list.policy.weights, pool.view.names)
    room = max(0, min(request.count, MOST_SHOWN - len(shown)))
    most = min(feed.spec.size, len(shown) + room + 1)
    for _ in range(_MOST_TURNS):
        question = Question(pool, feed, request, weights, decisions, now_ms)
        ranked = best_posts(question, most)
        ids = pool.view.ids.read_many(ranked.rows)
        hashes = [hash_of(post_id) for post_id in ids]
        unseen = [place for place, hashed in enumerate(hashes) if hashed not in shown]
        places = unseen[:room]
        rows = ranked.rows[places]
        outdated = _outdated(pool, decisions, rows, now_ms)
        if not len(outdated):
            break
        pool.decide_again(rows[outdated], now_ms)
    else:
        places = [p for i, p in enumerate(places) if i not in {*outdated.tolist()}]
    goes_on = len(unseen) > room and len(shown) + len(places) < MOST_SHOWN
    cursor = cursor_of(feed.name, (*shown, *(hashes[p] for p in places))) if goes_on else None
    answer: dict[str, Any] = {
        "feed": feed.name,
        "arm": user_list.arm,
        "weights": weights.shown(),
        "config_offset": pool.served.settings.offset,
        "at_ms": now_ms,
        "posts": _posts(question, ranked, [ids[p] for p in places], places, request),
        "cursor": cursor,
    }
    exposure = _exposure(feed, user_list, request, len(shown), now_ms)
    if exposure is not None:
        answer["exposure"] = exposure
    return Page(answer, weights, decisions)


def _outdated(pool: Pool, decisions: GateDecisions, rows: Rows, now_ms: int) -> Rows:
    """The places of the rows whose decisions are others by now."""
    codes, factors = np.full(len(rows), SHOW, np.uint8), np.ones(len(rows))
    for place, decision in decide_rows(pool.view, rows, decisions.gates, now_ms):
        codes[place], factors[place] = decision.code, decision.factor
    differs = (codes != decisions.code.values[rows]) | (factors != decisions.factor.values[rows])
    return np.flatnonzero(differs).astype(np.int32)


def _posts(
    question: Question,
    ranked: Ranked,
    ids: Sequence[str],
    places: Sequence[int],
    request: PageRequest,
) -> list[dict[str, Any]]:
    """Return what explains each post: anyone computes its score from that."""
    view, rows = question.view, ranked.rows[list(places)]
    post = view.post
    offsets = post.offset[rows]
    factors = question.decisions.factor.values[rows].tolist()
    columns = {}
    for name in question.weights.signals:
        stored = view.signals[name].get_many(rows, offsets)
        values = np.nan_to_num(stored.values, nan=question.weights.bases.get(name, 0.0))
        columns[name] = values.tolist(), stored.models, stored.post_offsets.tolist()
    posts: list[dict[str, Any]] = []
    for i, row in enumerate(rows.tolist()):
        author = view.author_of(row)
        one: dict[str, Any] = {
            "post_id": ids[i],
            "post_offset": offsets.item(i),
            "author_id": author,
            "created_ms": post.created_ms.item(row),
            "signals": {
                name: _signal(values[i], models[i], judged[i], offsets.item(i))
                for name, (values, models, judged) in columns.items()
            },
            "factor": factors[i],
            "score": ranked.scores.item(places[i]),
        }
        communities = view.groups.values[post.group.item(row)].communities
        adjustments = _adjustments(request, author, communities)
        if adjustments:
            one["adjustments"] = adjustments
        posts.append(one)
    return posts


def _signal(
    value: float, model: tuple[str, str] | None, judged: int, post_offset: int
) -> dict[str, Any]:
    """What counted of a signal; without a model the value is the base of the signal."""
    if model is None:
        return {"value": value, "model": None}
    said = {"value": value, "model": model[0], "version": model[1]}
    return said if judged == post_offset else {**said, "post_offset": judged}


def _adjustments(
    request: PageRequest, author: str, communities: Sequence[str]
) -> dict[str, float | Mapping[str, float]]:
    adjust, found = request.adjust, dict[str, float | Mapping[str, float]]()
    if author in adjust.authors:
        found["author"] = adjust.authors[author]
    of_some = {name: adjust.communities[name] for name in communities if name in adjust.communities}
    if of_some:
        found["communities"] = of_some
    return found


def _exposure(
    feed: ServedFeed, user_list: UserList, request: PageRequest, first: int, now_ms: int
) -> dict[str, Any] | None:
    """The record that the frontend sends to `exposures` before it renders the page."""
    if feed.experiment is None or user_list.arm is None:
        return None
    return {
        "user_id": request.user_id,
        "experiment": feed.experiment[0],
        "arm": user_list.arm,
        "feed": feed.name,
        "version": now_ms,
        "first": first,
        "count": request.count,
        "at_ms": now_ms,
    }
