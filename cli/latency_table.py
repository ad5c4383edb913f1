"""How long things took, as a table: legs by topic, the worker itself, and the lag."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from rich.console import Group

from feedmill.cli.output import plain_table, rich_table
from feedmill.streams.observe.legs import LEGS, OF_THE_WORKER, TOPICS, PartitionLag, RowKey
from feedmill.streams.observe.metrics import Distribution

_COLUMNS = ("topic", "leg", "a second>", "p50>", "p99>")
_LAG_COLUMNS = ("group", "topic", "lag>", "worst partition>", "its lag>")
_ORDER: tuple[RowKey, ...] = (
    *((leg, topic) for topic in TOPICS for leg in (*LEGS, "batch")),
    *((row, "") for row in OF_THE_WORKER if row != "batch"),
)


@dataclass(frozen=True)
class LatencyTable:
    """What happened within `seconds`."""

    seconds: float
    rows: Mapping[RowKey, Distribution]
    lags: Sequence[PartitionLag]

    @property
    def title(self) -> str:
        return f"in {self.seconds:.1f} s"

    def as_dict(self) -> dict[str, Any]:
        """The table as `--json` prints it: seconds, and records for batches; None: no record."""
        return {
            "seconds": round(self.seconds, 3),
            "legs": [
                {
                    "topic": topic or None,
                    "leg": leg,
                    "per_second": round(found.per_second, 3),
                    "p50": _finite(found.quantile(0.5)),
                    "p99": _finite(found.quantile(0.99)),
                }
                for (leg, topic), found in self._ordered()
            ],
            "lag": [msgspec.to_builtins(lag) for lag in self.lags],
        }

    def cells(self) -> list[tuple[str, ...]]:
        """The rows as text."""
        return [
            (
                topic or "(worker)",
                leg,
                f"{found.per_second:.1f}",
                *(_value_text(found, leg, q) for q in (0.5, 0.99)),
            )
            for (leg, topic), found in self._ordered()
        ]

    def lag_cells(self) -> list[tuple[str, ...]]:
        """The rows of the lags as text."""
        return [
            (one.group, one.topic, str(one.lag), str(one.worst_partition), str(one.worst_lag))
            for one in self.lags
        ]

    def _ordered(self) -> Iterator[tuple[RowKey, Distribution]]:
        return ((key, self.rows[key]) for key in _ORDER if key in self.rows)


def plain_latency_table(table: LatencyTable) -> str:
    """The table as text."""
    legs = plain_table(_COLUMNS, table.cells())
    lags = plain_table(_LAG_COLUMNS, table.lag_cells())
    return f"{table.title}\n{legs}\n\n{lags}\n"


def live_latency_table(table: LatencyTable) -> Group:
    """The table for a terminal."""
    return Group(
        table.title,
        rich_table(_COLUMNS, table.cells()),
        "",
        rich_table(_LAG_COLUMNS, table.lag_cells()),
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value


def _value_text(found: Distribution, leg: str, q: float) -> str:
    value = found.quantile(q)
    if value is None:
        return "-"
    if math.isinf(value):
        return "> " + _with_unit(found.bounds[-2], leg)
    return _with_unit(value, leg)


def _with_unit(value: float, leg: str) -> str:
    return f"{value:.0f} records" if leg == "batch" else f"{value * 1000:.1f} ms"
