"""The fields of `signals:<post_id>`: what is true of a post in every feed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from feedmill.events.gates import GatePolicy
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner.overrides import ActiveOverride
from feedmill.rankers.combiner.post_field import POST_FIELD, PostVersion, encode_post
from feedmill.rankers.combiner.row_decision import decide_row
from feedmill.rankers.combiner.signal_hash import fields_of_signal
from feedmill.rankers.combiner.view import POST_CHANGED, PostView, signal_bit

_encode = msgspec.json.Encoder().encode
_STRENGTH = {"hide": 0, "demote": 1, "allow": 2}


def deciding_bits(names: SignalNames) -> int:
    """The bits of what decides on a post: itself, and the gates, which come first among signals."""
    return signal_bit(len(names.gates)) - 1


def signal_fields(
    view: PostView, row: int, mask: int, gates: Mapping[str, GatePolicy], now_ms: int
) -> dict[str, str | bytes]:
    """The fields of a post that changed, ready for Redis; "" removes a field.

    `mask` says what changed (`PostView.changed`; -1: everything); `gates` is the default policy,
    under which `decision` stands.  The decision is among the fields if a gate's signal, an
    override or a setting changed, or if the grace of an open gate may have ended meanwhile;
    objectives do not decide.  What a signal's field leaves out is the post's own, so all signals
    are among the fields if the post changed.
    """
    fields: dict[str, str | bytes] = {}
    post_offset, arrived_ms = int(view.post.offset[row]), int(view.post.arrived_ms[row])
    for i, name in enumerate(view.names.all):
        if mask & (POST_CHANGED | signal_bit(i)):
            fields |= fields_of_signal(name, view.signal(row, name), post_offset, arrived_ms)
    if mask & POST_CHANGED:
        created_ms = int(view.post.created_ms[row])
        fields[POST_FIELD] = encode_post(PostVersion(post_offset, created_ms, arrived_ms))
        fields["author_id"] = view.author_of(row)
        fields["override"] = _override(view, row, tuple(gates), now_ms)
    judged = mask & deciding_bits(view.names)
    if judged or any(g.required and g.on_failure == "open" for g in gates.values()):
        decision = decide_row(view, row, gates, now_ms)
        # Most posts are shown: without the field a hash is four percent smaller.
        fields["decision"] = "" if decision.name == "show" else decision.name
        fields["decided_by"] = decision.decided_by
    return fields


def _override(view: PostView, row: int, gates: tuple[str, ...], now_ms: int) -> bytes:
    """The strongest override in force as JSON, others beside it under `others`; b"" for none."""
    if not len(view.overrides):
        return b""
    in_force = list(dict.fromkeys(view.overrides_of(row, gates, now_ms).values()))
    if not in_force:
        return b""
    in_force.sort(key=lambda active: _STRENGTH[active.override.verdict])
    first, *others = map(_as_dict, in_force)
    return _encode({**first, "others": others} if others else first)


def _as_dict(active: ActiveOverride) -> dict[str, Any]:
    return {
        "subject": active.key.subject,
        "gate": active.key.gate,
        **msgspec.to_builtins(active.override),
    }
