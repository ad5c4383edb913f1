"""The sliders of the preview: each field of weights and gates, with the value in force."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from feedmill.events.settings import Settings
from feedmill.events.weights import OBJECTIVE_ALIASES

_PLACES, _WITH_NONE = 1000, 1040
_PATH = re.compile(r"at `\$\.value\.([a-z0-9_.]+)`")


class Dial(NamedTuple):
    """A field that a slider changes; `name` is as `config set` takes it, `now` "" for none.

    The slider goes from 0 to 1000 between `least` and `most`, and above to none.
    """

    name: str
    label: str
    colour: str
    now: str
    given: str
    least: float
    most: float
    has_none: bool = False
    is_log: bool = False
    is_whole: bool = False

    @property
    def top(self) -> int:
        return _WITH_NONE if self.has_none else _PLACES

    @property
    def place(self) -> float:
        """Where a threshold stands in [0, 1]; beyond it for none."""
        return _number(self.given) if self.given else 2.0

    def share(self, text: str) -> float:
        """Where a value stands on the slider, in [0, 1]."""
        if not text:
            return 1.0
        value = min(self.most, max(self.least, _number(text)))
        if self.is_log:
            place = math.log2(value / self.least) / math.log2(self.most / self.least)
        else:
            place = (value - self.least) / (self.most - self.least)
        return place * _PLACES / self.top


def weight_dials(settings: Settings, feed: str, given: Mapping[str, str]) -> list[Dial]:
    """The dials of a feed's weights; `given` has the values of the address."""
    weights, names = settings.weights_of(feed), settings.names
    dials = []
    for name in names.objectives:
        now = weights.objectives.get(name, 0.0)
        colour = name if name in OBJECTIVE_ALIASES.values() else "other"
        dials.append(_dial(name, name, colour, now, given, most=max(1.0, 2 * now)))
    for name in names.costs:
        cost = weights.costs.get(name, 0.0)
        label = f"cost of a {name}"
        dials.append(_dial(f"costs.{name}", label, "cost", cost, given, most=max(50.0, 2 * cost)))
    half_life = _dial("half_life_hours", "half-life, hours", "age", weights.half_life_hours, given)
    dials.append(half_life._replace(least=1.0, most=720.0, has_none=True, is_log=True))
    cap = _dial("max_per_author", "posts per author", "gate", weights.max_per_author, given)
    dials.append(cap._replace(least=1, most=10, has_none=True, is_whole=True))
    return dials


def gate_dials(settings: Settings, feed: str, given: Mapping[str, str]) -> dict[str, list[Dial]]:
    """By gate the dials of its thresholds."""
    return {
        gate: [
            _dial(f"{gate}.demote_at", "demote from", "other", policy.demote_at, given)._replace(
                has_none=True
            ),
            _dial(f"{gate}.hide_at", "hide from", "cost", policy.hide_at, given)._replace(
                has_none=True
            ),
        ]
        for gate, policy in settings.gates_of(feed).items()
    }


def _dial(
    name: str,
    label: str,
    colour: str,
    now: float | None,
    given: Mapping[str, str],
    most: float = 1.0,
) -> Dial:
    text = "" if now is None else f"{now:g}"
    return Dial(name, label, colour, text, given.get(name, text), 0.0, most)


def given_values(query: Mapping[str, str], dials: Sequence[Dial]) -> dict[str, str]:
    """Return the values of the address that differ from those in force."""
    return {
        dial.name: query[dial.name].strip()
        for dial in dials
        if dial.name in query and query[dial.name].strip() != dial.now
    }


def words_of(given: Mapping[str, str]) -> list[str]:
    """Return values as `config set` takes them."""
    return [f"{name}={text or 'null'}" for name, text in given.items()]


def field_of(refusal: str, given: Mapping[str, str]) -> str:
    """Return the field that a refusal is about, "" where it names none."""
    found = _PATH.search(refusal)
    named = found[1] if found else refusal.partition(":")[0]
    return named if named in given else ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def fields(dials: Sequence[Dial], gates: Mapping[str, Sequence[Dial]]) -> Iterator[Dial]:
    """All dials of a feed."""
    yield from dials
    for some in gates.values():
        yield from some
