"""`/feeds/<feed>/preview`: a feed now, and under other weights or gates, before anybody sees it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from feedmill.console.dials import (
    Dial,
    field_of,
    fields,
    gate_dials,
    given_values,
    weight_dials,
    words_of,
)
from feedmill.console.feeds import Feeds, texts_by_id
from feedmill.console.logs import Logs
from feedmill.console.routes import DRAWN_S, NotFound, Route, Visit
from feedmill.console.shared import Shared
from feedmill.console.texts import Place, Texts
from feedmill.console.view import Seen, Superseded, View, ViewRefused
from feedmill.console.view_messages import Change, GatesAsk, PreviewAsk, PreviewResult, Side
from feedmill.console.words import parts_of_score, shares_of
from feedmill.events.errors import BadSetting, UsageError
from feedmill.operations.setting_changes import parse_setting_value, words_by_setting
from feedmill.streams.settings.config_log import ConfigLog, encode_record
from feedmill.streams.tokens import OPERATOR, VIEWER

TOP = 20
_TEXTS_S, _DRAG_TEXTS_S = 0.6, 0.03


class _Wanted:
    """What a page of the preview asks: the feed, the dials, and the values that differ."""

    def __init__(self, visit: Visit) -> None:
        self.feed = visit.names["feed"]
        self.log: ConfigLog = visit.console.part(Logs).config()
        settings = self.log.settings
        if settings.feed_of(self.feed) is None:
            raise NotFound("feed", self.feed, visit.console.part(Feeds).names())
        query = visit.request.query
        self.dials = weight_dials(settings, self.feed, query)
        self.gates = gate_dials(settings, self.feed, query)
        self.every: list[Dial] = list(fields(self.dials, self.gates))
        self.given = given_values(query, self.every)
        self.tab = "gates" if query.get("tab") == "gates" else "weights"

    def changes(self) -> tuple[Change, ...]:
        """The settings that the values would make; raises what `config set` refuses."""
        words = words_of(self.given)
        names = self.log.settings.names
        return tuple(
            (key, parse_setting_value(self.log, key, of_key))
            for key, of_key in words_by_setting(words, self.feed, names.gates)
        )


def _show(visit: Visit) -> web.Response:
    wanted = _Wanted(visit)
    # Texts come with the first poll: a page appears at once.
    values = _lists(visit, wanted, _TEXTS_S)
    names = visit.console.part(Feeds).names()
    return visit.page("preview.html", names=names, **{**values, "is_part": False})


def _show_lists(visit: Visit) -> web.Response:
    try:
        if visit.query("drag"):
            values = _lists(visit, _Wanted(visit), _DRAG_TEXTS_S)
            return visit.page("preview_lists.html", **values)
        address = {**visit.request.query, "feed": visit.names["feed"]}
        of_tab = ("version", "tab_id")
        key = sorted(f"{name}={value}" for name, value in address.items() if name not in of_tab)
        return visit.part(
            "preview_lists.html", lambda: _lists(visit, _Wanted(visit), _TEXTS_S), *key
        )
    except Superseded:
        return web.Response(status=204)


def _lists(visit: Visit, wanted: _Wanted, texts_s: float) -> dict[str, Any]:
    """All that the lists show; a refused value leaves the lists as they are now."""
    error = field = ""
    changes: tuple[Change, ...] = ()
    try:
        changes = wanted.changes()
    except (BadSetting, UsageError) as refused:
        error = str(refused)
    seen = Seen()
    try:
        seen = _ask(visit, wanted, changes)
    except ViewRefused as refused:
        error = str(refused)
        seen = _ask(visit, wanted, ())
    if error:
        field = field_of(error, wanted.given)
    texts = {}
    sides: dict[str, Any] = {}
    if isinstance(seen.result, PreviewResult):
        texts = _texts(visit, seen.result, texts_s)
        sides = {"now": _side(seen.result.now), "then": _side(seen.result.then)}
    values = {
        "is_part": True,
        "wanted": wanted,
        "feed": wanted.feed,
        "seen": seen,
        "sides": sides,
        "texts": texts,
        "error": error,
        "error_field": field,
        "summary": _summary(seen.result) if sides else None,
        "query": urlencode(wanted.given),
        "words": " ".join(words_of(wanted.given)),
    }
    said = f"{seen.late} {seen.reading} {error} {len(texts)} {seen.result} {wanted.given}"
    values["version"] = blake2b(said.encode(), digest_size=8).hexdigest()
    return values


def _ask(visit: Visit, wanted: _Wanted, changes: Sequence[Change]) -> Seen:
    """Ask the view; all who see the same preview share an answer, however their address says it."""
    view, is_drag = visit.console.part(View), bool(visit.query("drag"))
    ask: PreviewAsk | GatesAsk = PreviewAsk(wanted.feed, tuple(changes), TOP, is_drag)
    if wanted.tab == "gates":
        ask = GatesAsk(wanted.feed, tuple(changes))
    if is_drag:
        # A tab of a browser supersedes its own questions alone.
        page = f"{visit.visitor.csrf if visit.visitor else ''} {visit.query('tab_id')}"
        return view.ask(f"{wanted.tab} {wanted.feed} {page}", ask)
    page = f"{wanted.tab} {msgspec.json.encode(ask).decode()}"
    return visit.console.part(Shared).get(page, DRAWN_S, lambda: view.ask(page, ask))


def _texts(visit: Visit, result: PreviewResult, wait_s: float) -> dict[str, Any]:
    places = {
        post.post_id: Place(post.partition, post.offset)
        for side in (result.then, result.now)
        for post in side.best
    }
    return texts_by_id(visit.console.part(Texts), places, wait_s)


def _side(side: Side) -> dict[str, Any]:
    """The bars of a side, by post, and each objective's share of the top's value."""
    return {
        "bars": {post.post_id: parts_of_score(side.weights, post.signals) for post in side.best},
        "shares": shares_of(side.weights, [post.signals for post in side.best]),
    }


def _summary(result: PreviewResult) -> dict[str, Any]:
    """How the best posts differ."""
    now, then = result.now, result.then
    enter = [post for post in then.best if not post.other_rank or post.other_rank > len(now.best)]
    leave = [post for post in now.best if not post.other_rank or post.other_rank > len(then.best)]
    move = [post for post in then.best if post not in enter and post.other_rank != post.rank]
    counts = {
        name
        for weights in (now.weights, then.weights)
        for name, weight in (*weights.items(), *weights.get("costs", {}).items())
        if weight
    }
    means = [
        (name, now.means.get(name), then.means.get(name))
        for name in {**now.means, **then.means}
        if name in counts
    ]
    return {
        "enter": len(enter),
        "leave": len(leave),
        "move": len(move),
        "change": max(len(enter), len(leave)) + len(move),
        "means": means,
    }


def _show_apply(visit: Visit) -> web.Response:
    """The difference, to be applied with a reason; its form goes to `POST /settings`."""
    wanted = _Wanted(visit)
    settings, kinds, error = wanted.log.settings, list[str](), ""
    try:
        for key, value in wanted.changes():
            settings.fold(key.encode(), encode_record(value), settings.offset + 1)
            kinds.append(key.partition("/")[0])
    except (BadSetting, UsageError) as refused:
        error = str(refused)
    feeds = list(dict.fromkeys([wanted.feed, "", *sorted(settings.named_feeds)]))
    expected = {
        key: settings.offsets.get(key, -1)
        for feed in feeds
        for key in (f"{kind}/{feed}".rstrip("/") for kind in kinds)
    }
    return visit.page(
        "preview_apply.html",
        wanted=wanted,
        feeds=feeds,
        expected=expected,
        error=error,
        words=" ".join(words_of(wanted.given)),
        changed=[dial for dial in wanted.every if dial.name in wanted.given],
    )


ROUTES = (
    Route("GET", "/feeds/{feed}/preview", VIEWER, _show),
    Route("GET", "/feeds/{feed}/preview/lists", VIEWER, _show_lists),
    Route("GET", "/feeds/{feed}/preview/apply", OPERATOR, _show_apply),
)
