"""The page docs/alarms.md: which alarms were raised on a live engine, and when they went.

A run of a fault replaces its rows.
"""

import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "alarms.md"

_TEXT = """# Alarms on a live engine

`make alarms` writes this page. It starts a real Kafka, Redis, worker and Prometheus. Prometheus has
the rules of [deploy/alarms](../deploy/alarms/feedmill.rules.yml), with all their times divided by
{factor}, those of a day and more by {days_factor}. Each fault is caused until its alarms are on,
then cured until they are off; the seconds count what a fault or a cure prepares, such as the start
of another worker. Before that an engine that is well runs under a light load, with the rules as
they are: no alarm may come. `make alarms ONLY=redis_away QUIET=0` causes one fault. What each alarm
means, and what to do: [operating](operating/operator.md#alarms).

{head}{rows}"""
_HEAD = """| fault | alarm | on after, s | off after its cure, s | run |
|---|---|--:|--:|---|
"""


class Result(NamedTuple):
    """How long an alarm took to come by its fault and to go after the cure; None: it did not."""

    fault: str
    alarm: str
    raised_s: float | None
    cleared_s: float | None

    @property
    def is_good(self) -> bool:
        """Whether it came and went."""
        return self.raised_s is not None and self.cleared_s is not None


def write_page(results: Sequence[Result], quiet: float, factor: int, days_factor: int) -> None:
    """Write what a run saw of faults whose alarms all came and went, and of the quiet time."""
    before = PAGE.read_text("utf-8").splitlines() if PAGE.exists() else []
    rows = {_key(line): line for line in before if line.startswith("| ") and line not in _HEAD}
    run = f"{datetime.datetime.now(tz=datetime.UTC).date()}, {os.cpu_count()} cores"
    if quiet:
        rows["", ""] = f"| none, for {quiet:g} minutes | none | | | {run} |"
    for one in results:
        fault = one.fault.replace("_", " ")
        times = f"{one.raised_s:.0f} | {one.cleared_s:.0f}"
        rows[fault, one.alarm] = f"| {fault} | `{one.alarm}` | {times} | {run} |"
    text = _TEXT.format(
        factor=factor,
        days_factor=days_factor,
        head=_HEAD,
        rows="".join(f"{rows[key]}\n" for key in sorted(rows)),
    )
    PAGE.write_text(text, "utf-8")


def _key(line: str) -> tuple[str, str]:
    fault, alarm, *_ = line.removeprefix("| ").split(" | ")
    return ("", "") if fault.startswith("none") else (fault, alarm.strip("`"))
