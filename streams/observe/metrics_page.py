"""Generates `docs/metrics.md` from the list of metrics.

``python -m feedmill.streams.observe.metrics_page docs/metrics.md`` writes it; a test fails if the
page is not current.
"""

from __future__ import annotations

import sys
from pathlib import Path

from feedmill.streams.observe.metrics import METRICS, Metric

_HEAD = """\
# Metrics

`make format` generates this page from the list in `streams/observe/metrics.py`; a test fails if it
is not current. `/metrics` serves the metrics in Prometheus' text format; under `feedmill run` and
`feedmill worker` with several stages, those of all stages in one text. Each metric has the labels
`stage` and `instance`, and those below its name. A histogram consists of `_bucket`, `_sum` and
`_count`.

| metric | kind | unit | meaning | when it rises |
|---|---|---|---|---|
"""


def page() -> str:
    """The whole text of the page."""
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
