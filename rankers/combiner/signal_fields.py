"""The fields of `signals:<post_id>`: what is true of a post in every feed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from feedmill.events.gates import GatePolicy
from feedmill.rankers.combiner.columns import NO_SIGNAL
from feedmill.rankers.combiner.overrides import ActiveOverride
from feedmill.rankers.combiner.view import POST_CHANGED, PostView

_encode = msgspec.json.Encoder().encode
_STRENGTH = {"hide": 0, "demote": 1, "allow": 2}


def signal_fields(
    view: PostView, row: int, mask: int, gates: Mapping[str, GatePolicy], now_ms: int
) -> dict[str, str | bytes]:
    """The fields of a post that the mask says changed, ready for Redis; "" removes a field.

    The decision depends on the gates' signals, on overrides and on settings, never on
    objectives: it comes along where one of the former changed, or where the grace of an open
    gate may have ended meanwhile.
    """
    fields: dict[str, str | bytes] = {}
    for i, name in enumerate(view.names.all):
        if mask & (1 << i):
            fields[name] = _signal(view, row, name)
    whole = bool(mask & POST_CHANGED)
    if whole:
        fields["post_offset"] = str(view.post.offset[row])
        fields["author_id"] = view.author_of(row)
        fields["created_ms"] = str(view.post.created_ms[row])
        fields["override"] = _override(view, row, tuple(gates), now_ms)
    judged = mask & ((1 << len(view.names.gates)) - 1)
    if whole or judged or any(g.required and g.on_failure == "open" for g in gates.values()):
        decision = view.decide(row, gates, now_ms)
        fields["decision"] = decision.name
        fields["decided_by"] = decision.decided_by
    return fields


def _signal(view: PostView, row: int, name: str) -> bytes:
    column = view.signals[name]
    if column.offset[row] == NO_SIGNAL:
        return b""
    value = float(column.value[row])
    model, version = view.models.values[column.model[row]]
    found: dict[str, Any] = {
        "value": None if np.isnan(value) else value,
        "model": model,
        "version": version,
        "post_offset": int(column.offset[row]),
        "at_ms": int(column.at_ms[row]),
    }
    error = view.errors.get((row, name))
    if error is not None:
        found["error"] = error
    return _encode(found)


def _override(view: PostView, row: int, gates: tuple[str, ...], now_ms: int) -> bytes:
    """The strongest override in force as JSON, others beside it under `others`; b"" for none."""
    if not len(view.overrides):
        return b""
    found = list(dict.fromkeys(view.overrides_of(row, gates, now_ms).values()))
    if not found:
        return b""
    found.sort(key=lambda one: _STRENGTH[one.override.verdict])
    first, *others = map(_shown, found)
    return _encode({**first, "others": others} if others else first)


def _shown(one: ActiveOverride) -> dict[str, Any]:
    return {
        "subject": one.key.subject,
        "gate": one.key.gate,
        **msgspec.to_builtins(one.override),
    }
