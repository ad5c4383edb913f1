"""What a metric is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric; every metric has the labels `stage` and `instance` beside its own `labels`."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    unit: str
    meaning: str
    when_it_rises: str
    labels: tuple[str, ...] = ()


counter, gauge, histogram = (partial(Metric, kind) for kind in ("counter", "gauge", "histogram"))
