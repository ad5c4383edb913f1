"""Filters of the templates: ages, numbers, ids of elements, and what a score is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import jinja2

from feedmill.operations.times import age_text

# Signals that have a colour of their own on every page.
_COLOURED = ("quality", "engagement")


class Part(NamedTuple):
    """A part of a bar: from where, how wide, in shares of the whole, and its colour."""

    name: str
    at: float
    width: float
    colour: str


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits that count; a dash for none."""
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:,.0f}"


def dom_id(text: str) -> str:
    """Return an id of an element for any text, such as a hostile post id."""
    return "p" + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def colour_of(name: str) -> str:
    """Return the class that gives a signal its colour."""
    return name if name in _COLOURED else "other"


def contributions(
    weights: Mapping[str, Any], signals: Mapping[str, float | None]
) -> dict[str, float]:
    """Return what each objective that counts adds to the sum; `weights` are as a setting has them.

    A signal without a value counts as 0.
    """
    return {
        name: weights[name] * scale * (signals.get(name) or 0.0)
        for name, scale in weights["scale"].items()
        if weights.get(name)
    }


def parts_of_score(weights: Mapping[str, Any], signals: Mapping[str, float | None]) -> list[Part]:
    """Return the bar of a score: what each objective adds, less what the costs take away of it."""
    added = contributions(weights, signals)
    total = sum(added.values())
    costs = weights.get("costs", {})
    doublings = sum(cost * (signals.get(name) or 0.0) for name, cost in costs.items())
    left, at, parts = 2.0**-doublings, 0.0, []
    for name, value in added.items():
        width = left * value / total if total else 0.0
        parts.append(Part(name, at, width, colour_of(name)))
        at += width
    if total and left < 1:
        parts.append(Part("costs", at, 1 - at, "cost"))
    return parts


def shares(parts: Sequence[Part]) -> str:
    """Return a bar in words, for those who do not see it."""
    return ", ".join(f"{part.name} {part.width:.0%}" for part in parts) or "no value"


def shares_of(
    weights: Mapping[str, Any], many: Sequence[Mapping[str, float | None]]
) -> dict[str, float]:
    """Return each objective's part of the sums of these posts."""
    sums: dict[str, float] = {}
    for signals in many:
        for name, value in contributions(weights, signals).items():
            sums[name] = sums.get(name, 0.0) + value
    total = sum(sums.values())
    return {name: value / total if total else 0.0 for name, value in sums.items()}


def share_parts(shares_by_name: Mapping[str, float]) -> list[Part]:
    """Return shares as the parts of one bar."""
    at, parts = 0.0, []
    for name, share in shares_by_name.items():
        parts.append(Part(name, at, share, colour_of(name)))
        at += share
    return parts


def add_filters(templates: jinja2.Environment) -> None:
    """Let templates use the functions of this module."""
    templates.filters["age"] = age_text
    for function in (number, dom_id, colour_of, shares, share_parts):
        templates.filters[function.__name__] = function
    templates.globals["parts_of_score"] = parts_of_score
