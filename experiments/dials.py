"""Dials: the fields of weights that `feedmill tune` multiplies, and where settings stand on them.

A ranking depends on the ratios of the objectives alone, so an objective's place on its dial is that
of its weight times its scale beside the first objective's.  A place is log2 of a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

import msgspec

from feedmill.events.errors import BadSetting, UsageError
from feedmill.events.signal import SignalNames
from feedmill.events.weights import OBJECTIVE_ALIASES, Weights, weights_decoder

HALF_LIFE = "half_life_hours"
_ALIASES = {objective: alias for alias, objective in OBJECTIVE_ALIASES.items()}
# Fields of `weights` that are no dials, and what looks at them instead.
_NO_DIALS = {
    "max_per_author": "; a cap is none, see `feedmill weights preview {feed} max_per_author=1`",
    "scale": "; weight times scale is one number: name the objective",
}


@dataclass(frozen=True)
class Dial:
    """One field of the weights of a feed, and its value there; `name` is that of `config set`."""

    name: str
    field: str
    value: float

    def at(self, doublings: float) -> float:
        """Return the value after so many doublings, to three digits as it is set."""
        return float(f"{self.value * 2.0**doublings:.3g}")

    def patch(self, value: float) -> dict[str, Any]:
        """Return the fields of `weights` that set the dial, as an arm has them."""
        patch = {self.field: value}
        return {"costs": patch} if self.name.startswith("costs.") else patch

    def weights(self, names: SignalNames, weights: Weights, value: float) -> Weights | None:
        """Return the weights with the dial at a value; None beyond what the field may be."""
        try:
            return weights_decoder(names).patched(weights, self.patch(value))
        except (BadSetting, msgspec.ValidationError):
            return None


def dials_of(
    words: Sequence[str], weights: Weights, names: SignalNames, feed: str
) -> tuple[Dial, ...]:
    """Return the dials of these names, without any all dials of a feed.

    Raises
    ------
    UsageError
        A name is no dial of the feed, its value is 0 or null, or all objectives are named.
    """
    weighed = [name for name, weight in weights.objectives.items() if weight]
    if not words:
        words = [*weighed[1:], *(f"costs.{name}" for name in weights.costs)]
        words = [*words, *([HALF_LIFE] if weights.half_life_hours else [])]
    if not words:
        raise UsageError(f"`{feed}` has no dial: one objective, no costs and no half-life")
    dials = tuple(
        {(one := _dial(word, weights, names, feed)).field: one for word in words}.values()
    )
    objectives = [dial for dial in dials if dial.field in weighed]
    if objectives and len(objectives) == len(weighed):
        named = " and ".join(dial.name for dial in objectives)
        raise UsageError(
            f"Expected fewer dials than `{feed}` has objectives, got {named} - at"
            f" `$.{objectives[-1].field}`; only their ratio moves the list, so"
            + (f" name {objectives[-1].name} alone" if len(weighed) > 1 else " no dial moves it")
        )
    return dials


def _dial(word: str, weights: Weights, names: SignalNames, feed: str) -> Dial:
    field = OBJECTIVE_ALIASES.get(word, word).removeprefix("costs.")
    known, top = (*names.objectives, HALF_LIFE, *names.costs), field.partition(".")[0]
    if field not in known or (word.startswith("costs.") and field not in names.costs):
        gate = "; a gate is a rule of the product, see `feedmill gates preview`"
        why = gate if top in names.gates else _NO_DIALS.get(top, "").format(feed=feed)
        raise UsageError(
            f"Expected a dial ({', '.join(known)}), got {word[:80]!r} - at `$.{word[:80]}`{why}"
        )
    value: float | None = weights.objectives.get(field) or weights.costs.get(field, 0.0)
    value = weights.half_life_hours if field == HALF_LIFE else value
    name = f"costs.{field}" if field in names.costs else _ALIASES.get(field, field)
    if not value:
        raise UsageError(
            f"Expected a value to multiply, got {'null' if value is None else 0} - at `$.{name}` of"
            f" `{feed}`; give it one first: feedmill config set weights/{feed} {name}=VALUE"
        )
    return Dial(name, field, value)


def written(weights: Weights, names: SignalNames) -> dict[str, Any]:
    """Return weights as a setting that says all: a cost that is left out has its default."""
    costs = {name: weights.costs.get(name, 0.0) for name in names.costs}
    return {**weights.as_dict(), "costs": costs}


def places(value: Mapping[str, Any]) -> dict[str, float]:
    """Return where weights, as `written` gives them, stand on each dial, in doublings.

    A dial at 0 or null is left out.
    """
    reference, *others = value["scale"]
    values = {name: value[name] * value["scale"][name] for name in (reference, *others)}
    if not values[reference]:
        reference = next(name for name in others if values[name])
    found = {name: one / values[reference] for name, one in values.items() if name != reference}
    found |= {f"costs.{name}": cost for name, cost in value["costs"].items()}
    found[HALF_LIFE] = value[HALF_LIFE] or 0.0
    return {_ALIASES.get(name, name): log2(one) for name, one in found.items() if one}


def patch_at(value: Mapping[str, Any], name: str, place: float) -> dict[str, Any]:
    """Return the fields that bring weights to a place on the dial of this name."""
    field = OBJECTIVE_ALIASES.get(name, name).removeprefix("costs.")
    now = value["costs"][field] if name.startswith("costs.") else value[field]
    dial = Dial(name, field, now)
    return dial.patch(dial.at(place - places(value)[name]))


def arms_of(patches: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return a control and an arm for each dial and its fields, in equal shares.

    An arm is called by the dial and its value; names have no dots.
    """
    share = 10_000 // (len(patches) + 1)
    arms = [{"name": "control", "share": 10_000 - share * len(patches)}]
    for dial, patch in patches:
        value = pairs_text(patch).rpartition("=")[2].replace(".", "_").replace("+", "")
        name = f"{dial.removeprefix('costs.')}-{value}"
        arms.append({"name": name, "share": share, "weights": dict(patch)})
    return arms


def pairs_text(patch: Mapping[str, Any], before: str = "") -> str:
    """Return fields as the words of `config set`: `beta=2 costs.report=9`."""
    words = []
    for name, value in patch.items():
        if isinstance(value, Mapping):
            words.append(pairs_text(value, f"{name}."))
        else:
            shown = "null" if value is None else format(value, ".12g")
            words.append(f"{before}{_ALIASES.get(name, name)}={shown}")
    return " ".join(words)
