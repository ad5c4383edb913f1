"""The page docs/alarms.md: which alarms were raised on a live engine, and when they went."""

import datetime
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

PAGE = Path(__file__).parents[2] / "docs" / "alarms.md"


class Raised(Protocol):
    """What is said of an alarm."""

    @property
    def fault(self) -> str: ...

    @property
    def alarm(self) -> str: ...

    @property
    def raised_s(self) -> float | None: ...

    @property
    def cleared_s(self) -> float | None: ...


_TEXT = """# Alarms on a live engine

`make alarms` writes this page. It starts a real Kafka, Redis, worker and Prometheus. Prometheus has
the rules of [deploy/alarms](../deploy/alarms/feedmill.rules.yml), with all their times
divided by 30. Each fault is caused until its alarms are on, then cured until they are off. Before
that an engine that is well runs under a light load, with the rules as they are: no alarm may come.
`make alarms ONLY=redis_away QUIET=0` causes one fault. What each alarm means, and what to do:
[operating](operating/operator.md#alarms).

Last run: {day}, {cores} cores, {quiet:g} quiet minutes without an alarm.

| fault | alarm | on after, s | off after its cure, s |
|---|---|--:|--:|
{rows}

These are not raised by it, but by `promtool` in `tests/deploy/test_alarms.py`:

{others}
"""


def write_page(results: Sequence[Raised], quiet: float, not_raised: Mapping[str, str]) -> None:
    """Write what a whole run saw."""
    rows = [
        f"| {one.fault.replace('_', ' ')} | `{one.alarm}` | {one.raised_s:.0f} |"
        f" {one.cleared_s:.0f} |"
        for one in results
    ]
    others = [f"- `{name}`: {reason}." for name, reason in not_raised.items()]
    text = _TEXT.format(
        day=datetime.datetime.now(tz=datetime.UTC).date(),
        cores=os.cpu_count(),
        quiet=quiet,
        rows="\n".join(rows),
        others="\n".join(others),
    )
    PAGE.write_text(text, "utf-8")
