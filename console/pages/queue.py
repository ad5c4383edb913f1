"""The queue: one post at a time, decided by a key."""

from __future__ import annotations

from typing import get_args

from aiohttp import web

from feedmill.console.pages.actions import lasts_ms, number_of, override_of, undo_of
from feedmill.console.queue import Queue, Shown, Wanted
from feedmill.console.routes import NotFound, Route, Visit
from feedmill.console.view_messages import Pile
from feedmill.events.errors import UsageError
from feedmill.events.label import LABEL_TARGETS
from feedmill.filters.registry import FILTERS
from feedmill.operations.changes import write_changes
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.tokens import MODERATOR

PILES: tuple[Pile, ...] = get_args(Pile)
# Below this value of its gate a post is not likely to be labelled for it.
_LIKELY = 0.3
# What a label of a target says where a moderator hides, demotes or allows a post.
_VALUES = {"hide": 1.0, "demote": 1.0, "allow": 0.0}


def _show(visit: Visit) -> web.Response:
    return _page(visit, _pile(visit.query("pile", PILES[0])))


def _page(
    visit: Visit,
    pile: Pile,
    *,
    first: str = "",
    done: str = "",
    undo: tuple[int, ...] = (),
) -> web.Response:
    """Show the next post; `done` says what was decided just now, and `undo` what takes it back."""
    name = visit.visitor.name if visit.visitor else ""
    found = visit.console.part(Queue).next(name, pile, first)
    shown = found if isinstance(found, Shown) else None
    return visit.page(
        "queue.html",
        pile=pile,
        piles=PILES,
        shown=shown,
        seen=found,
        targets=_targets(),
        target="" if shown is None else _likely_target(visit, shown),
        at_ms=now_ms(),
        done=done,
        undo=undo,
    )


def _decide(visit: Visit) -> web.Response:
    form, pile = visit.form, _pile(visit.form.get("pile", ""))
    post_id, made_by = form.get("post_id", ""), visit.made_by(form.get("reason", ""))
    queue, verdict = visit.console.part(Queue), form.get("verdict", "")
    if verdict == "aside":
        queue.put_aside(made_by.by, post_id)
        return _page(visit, pile, done="put aside")
    override = override_of(verdict, made_by, now_ms(), lasts_ms(form.get("expires", "")))
    posts = {post_id: number_of(form.get("post_offset", ""))}
    expect = {post_id: number_of(form.get("expect", "-1"))}
    scope = form.get("scope", "post")
    if scope == "copies":
        for copy in form.getall("copy", []):
            copy_id, _, offset = copy.rpartition("=")
            posts[copy_id] = number_of(offset)
    target = form.get("target", "")
    if target and target not in _targets():
        raise UsageError(f"target: expected one of {', '.join(_targets())}, got {target!r}")
    label = (target, _VALUES[verdict]) if target else None
    author_id = form.get("author_id", "") if scope == "author" else ""
    written = queue.decide(made_by, Wanted(override, posts, author_id, label), expect)
    what = f"author {author_id}" if author_id else f"{len(posts)} posts"
    done = f"{verdict}: {post_id if len(posts) == 1 and not author_id else what}"
    return _page(visit, pile, done=done, undo=tuple(place.offset for place in written))


def _undo(visit: Visit) -> web.Response:
    pile, offsets = _pile(visit.form.get("pile", "")), visit.form.getall("offset", [])
    if not offsets:
        raise UsageError("nothing to undo: give the offset of a record")
    made_by = visit.made_by(f"undo of {', '.join(offsets)}")
    changes = [undo_of(visit, number_of(text), made_by) for text in offsets]
    write_changes(visit.console.environment, made_by, [change for _, change in changes])
    return _page(visit, pile, first=changes[0][0].id, done="taken back")


def _pile(name: str) -> Pile:
    for pile in PILES:
        if pile == name:
            return pile
    raise NotFound("pile", name, PILES)


def _targets() -> tuple[str, ...]:
    """Return the signals that learn from labels: the gates of filters, and quality."""
    return (*LABEL_TARGETS, *(name for name in FILTERS if name not in LABEL_TARGETS))


def _likely_target(visit: Visit, shown: Shown) -> str:
    """Return the gate that is surest that the post violates; "" where none is sure enough."""
    gates = visit.console.environment.signals.gates
    values = {name: shown.post.signals.get(name) or 0.0 for name in gates if name in _targets()}
    likely = max(values, key=lambda name: values[name], default="")
    return likely if likely and values[likely] >= _LIKELY else ""


ROUTES = (
    Route("GET", "/queue", MODERATOR, _show),
    Route("POST", "/queue/decide", MODERATOR, _decide),
    Route("POST", "/queue/undo", MODERATOR, _undo),
)
