"""What a check finds: what is wrong, where, and the way out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["wrong", "warn"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or that may become wrong.

    Attributes
    ----------
    check
        The name of the check.
    severity
        "wrong": something does not work, or records, posts or signals are lost by it.  "warn": it
        works, and somebody should know.
    what, where, way_out
        In words; commands stand between backticks, as they are typed.
    """

    check: str
    severity: Severity
    what: str
    where: str
    way_out: str

    def as_dict(self) -> dict[str, str]:
        """The finding as `feedmill doctor --json` prints it."""
        return asdict(self)


def some_of(names: Collection[str], most: int = 3) -> str:
    """Return the first names, and how many more there are."""
    listed = sorted(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(f"`{name}`" for name in listed[:most]) + more
