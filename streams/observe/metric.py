"""What a metric is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric; every metric has the labels `stage` and `instance` beside its own `labels`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    meaning: str
    when_it_rises: str
    labels: tuple[str, ...] = ()
