"""What a check finds: what is wrong, where, and the way out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from feedmill.events.errors import FeedmillError

Severity = Literal["wrong", "warn"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or that may become wrong.

    Attributes
    ----------
    severity
        "wrong": something does not work, or records, posts or signals are lost by it.  "warn": it
        works, and somebody should know.
    what, where, way_out
        In words; commands stand between backticks, as they are typed.
    topic, partitions, instance
        What `where` names, for scripts; empty where it names none.
    is_stale
        Whether feeds are stale by it, or will be: `feedmill health` fails for that alone.
    check
        The name of the check that found it.
    """

    severity: Severity
    what: str
    where: str
    way_out: str
    topic: str = ""
    partitions: tuple[int, ...] = ()
    instance: str = ""
    is_stale: bool = False
    check: str = ""


class Unreachable(FeedmillError):
    """A server cannot be asked: no check that needs it can be made, and one finding says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.where}: {finding.what}; {finding.way_out}")
        self.finding = finding


def some_of(names: Collection[str], most: int = 3) -> str:
    """Return the first names, and how many more there are."""
    listed = sorted(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(f"`{name}`" for name in listed[:most]) + more


def ranges(numbers: Iterable[int]) -> str:
    """Return partitions as people write them: ``0-3, 7``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def seconds(ms: float) -> str:
    """Return a time as people read it: ``45 s``, ``12 min``, ``3 h``."""
    if ms < 120_000:
        return f"{ms / 1000:.0f} s"
    return f"{ms // 60_000:.0f} min" if ms < 7_200_000 else f"{ms // 3_600_000:.0f} h"
