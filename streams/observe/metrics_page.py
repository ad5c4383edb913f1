"""`docs/metrics.md`, made of the list of metrics.

``python -m feedmill.streams.observe.metrics_page docs/metrics.md`` writes it; a test checks it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from feedmill.streams.observe.metrics import METRICS, Metric

_HEAD = """\
# Metrics

Made of the list in `streams/observe/metrics.py` by `make format`; a test fails when this page is
not current. `/metrics` serves them in Prometheus' text format, under `feedmill run` those of every
stage in one text. Each has the labels `stage` and `instance`, and those named beside it. A
histogram comes as `_bucket`, `_sum` and `_count`.

| metric | kind | unit | what it counts | when it rises |
|---|---|---|---|---|
"""


def page() -> str:
    """The page as its file holds it."""
    return _HEAD + "".join(map(_row, METRICS))


def _row(metric: Metric) -> str:
    labels = "".join(f"<br>`{label}`" for label in metric.labels)
    cells = (
        f"`{metric.name}`{labels}",
        metric.kind,
        metric.unit,
        metric.meaning,
        metric.when_it_rises,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m feedmill.streams.observe.metrics_page FILE")
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
