"""The fields of `signals:<post_id>`: what is true of a post in every feed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.gates import GatePolicy
from feedmill.rankers.combiner.changes import SignalsChange
from feedmill.rankers.combiner.columns import NO_POST
from feedmill.rankers.combiner.gate_decisions import decide_row, decide_rows
from feedmill.rankers.combiner.gating import Decision
from feedmill.rankers.combiner.overrides import ActiveOverride
from feedmill.rankers.combiner.signal_hash import (
    POST_FIELD,
    PostVersion,
    encode_post,
    encode_posts,
    encode_signals,
    error_field,
    fields_of_signal,
)
from feedmill.rankers.combiner.view import POST_CHANGED, PostView

Fields = dict[str, str]

_encode = msgspec.json.Encoder().encode
EVERYTHING = -1  # a mask of all that may change
# With fewer posts plain Python is quicker than numpy.
_MANY_FROM = 8
_STRENGTH = {"hide": 0, "demote": 1, "allow": 2}


def signals_changes(
    view: PostView,
    taken: Iterable[tuple[int, int, bool]],
    gates: Mapping[str, GatePolicy],
    kept_ms: int,
    now_ms: int,
) -> list[SignalsChange]:
    """What to write of rows, each with the mask of what changed and whether Redis has nothing.

    `gates` is the default policy; a post is kept for so long after its creation.
    """
    offset, created_ms = view.post.offset.item, view.post.created_ms.item
    changed: dict[int, Fields] = {}
    whole: list[int] = []
    for row, mask, is_unwritten in taken:
        if offset(row) == NO_POST:
            continue  # it was deleted, which `Combiner.follow` has not come to yet
        # What a signal's field leaves out is the post's own: a new version is all new.
        if is_unwritten or mask & POST_CHANGED:
            whole.append(row)
        else:
            changed[row] = signal_fields(view, row, mask, gates, now_ms)
    all_of_whole = dict(zip(whole, whole_fields(view, whole, gates, now_ms), strict=True))
    return [
        SignalsChange(view.ids[row], created_ms(row) + kept_ms, is_whole, fields, offset(row))
        for is_whole, by_row in ((False, changed), (True, all_of_whole))
        for row, fields in by_row.items()
    ]


def signal_fields(
    view: PostView, row: int, mask: int, gates: Mapping[str, GatePolicy], now_ms: int
) -> Fields:
    """The fields of a post that changed, ready for Redis; "" removes a field.

    `mask` says what changed (`PostView.changed`; -1: everything); `gates` is the default policy,
    under which `decision` stands.  The decision is among the fields if a gate's signal, an
    override or a setting changed, or if the grace of an open gate may have ended meanwhile;
    objectives do not decide.  What a signal's field leaves out is the post's own, so all signals
    are among the fields if the post changed.
    """
    fields: Fields = {}
    post_offset, arrived_ms = int(view.post.offset[row]), int(view.post.arrived_ms[row])
    for name, bit in view.written.items():
        if mask & (POST_CHANGED | bit):
            signal = view.signals[name].get(row, post_offset)
            fields |= fields_of_signal(name, signal, post_offset, arrived_ms)
    if mask & POST_CHANGED:
        created_ms = int(view.post.created_ms[row])
        fields[POST_FIELD] = encode_post(PostVersion(post_offset, created_ms, arrived_ms))
        fields["author_id"] = view.author_of(row)
        overridden = view.is_overridden(row)
        fields["override"] = _override(view, row, tuple(gates), now_ms) if overridden else ""
    if mask & view.deciding or any(g.required and g.on_failure == "open" for g in gates.values()):
        fields |= _decided(decide_row(view, row, gates, now_ms))
    return fields


def whole_fields(
    view: PostView, rows: Sequence[int], gates: Mapping[str, GatePolicy], now_ms: int
) -> list[Fields]:
    """All fields of posts, ready for Redis, without empty ones.

    The parameters are those of `signal_fields`.
    """
    if len(rows) < _MANY_FROM:
        each = (signal_fields(view, row, EVERYTHING, gates, now_ms) for row in rows)
        return [{name: text for name, text in fields.items() if text} for fields in each]
    return _fields_of_rows(view, np.array(rows, np.int32), gates, now_ms)


def _fields_of_rows(
    view: PostView, rows: npt.NDArray[np.int32], gates: Mapping[str, GatePolicy], now_ms: int
) -> list[Fields]:
    post = view.post
    offsets, created_ms, arrived_ms = (
        post.offset[rows],
        post.created_ms[rows],
        post.arrived_ms[rows],
    )
    signals = {name: view.signals[name].get_many(rows, offsets) for name in view.written}
    columns: dict[str, Sequence[str]] = {
        name: encode_signals(name, of_name, offsets, arrived_ms)
        for name, of_name in signals.items()
    }
    columns[POST_FIELD] = encode_posts(offsets, created_ms, arrived_ms)
    columns["author_id"] = view.authors.read_many(post.author[rows])
    if len(view.overrides):
        names = tuple(gates)
        is_overridden = view.overridden.among(rows, post.author).tolist()
        columns["override"] = [
            _override(view, row, names, now_ms) if is_one else ""
            for row, is_one in zip(rows.tolist(), is_overridden, strict=True)
        ]
    of_posts = zip(*columns.values(), strict=True)
    if all(map(all, columns.values())):
        # Most posts have all signals; to ask about each field takes twice the time.
        fields = [dict(zip(columns, of_post, strict=True)) for of_post in of_posts]
    else:
        fields = [
            {name: value for name, value in zip(columns, of_post, strict=True) if value}
            for of_post in of_posts
        ]
    for name, of_name in signals.items():
        for place, error in of_name.errors.items():
            if error:
                fields[place][error_field(name)] = error
    for place, decision in decide_rows(view, rows, gates, now_ms):
        fields[place] |= {key: value for key, value in _decided(decision).items() if value}
    return fields


def _decided(decision: Decision) -> Fields:
    # Most posts are shown: without the field a hash is four percent smaller.
    shown = "" if decision.name == "show" else decision.name
    return {"decision": shown, "decided_by": decision.decided_by}


def _override(view: PostView, row: int, gates: tuple[str, ...], now_ms: int) -> str:
    """The strongest override in force as JSON, others beside it under `others`; "" for none."""
    in_force = list(dict.fromkeys(view.overrides_of(row, gates, now_ms).values()))
    if not in_force:
        return ""
    in_force.sort(key=lambda active: _STRENGTH[active.override.verdict])
    first, *others = map(_as_dict, in_force)
    return _encode({**first, "others": others} if others else first).decode()


def _as_dict(active: ActiveOverride) -> dict[str, Any]:
    return {
        "subject": active.key.subject,
        "gate": active.key.gate,
        **msgspec.to_builtins(active.override),
    }
