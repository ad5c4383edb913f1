"""Generates `docs/metrics.md` from the list of metrics.

`make format` writes it; a test fails if the page is not current.
"""

from __future__ import annotations

import sys
from pathlib import Path

from feedmill.streams.observe.metric_list import METRICS, Metric

_HEAD = """\
# Metrics

`make format` generates this page from the list in `streams/observe/metric_list.py`; a test fails
if it is not current. `/metrics` serves the metrics in Prometheus' text format; under `feedmill
run` and `feedmill worker` with several stages, those of all stages in one text. Each metric has
the labels `stage` and `instance`, and those below its name. A histogram consists of `_bucket`,
`_sum` and `_count`.

| metric | kind | unit | meaning | when it rises |
|---|---|---|---|---|
"""

_LEGS = """
## The legs

`feedmill_leg_seconds` follows a record from Kafka to Redis. Each observation counts as often as
the cycle had records of the topic, so quantiles are about records.

| leg | from | to | measured |
|---|---|---|---|
| `append_to_fetch` | the record's timestamp | the worker has taken it | for each record |
| `fetch_to_judged` | there | every model of the worker has scored it | once a cycle |
| `judged_to_ranked` | there | the Redis writer has all that changed | once a cycle |
| `ranked_to_redis` | there | Redis has answered | once a cycle |
| `append_to_redis` | the mean timestamp | Redis has answered | once a cycle |

The timestamp is the broker's, LogAppendTime, in milliseconds, so what a producer waits for is not
in it. If a topic has CreateTime, against the contract, the timestamp is the producer's, and the
legs are called `create_to_fetch` and `create_to_redis`. The end of a leg is the time of the
worker's host: a difference of the clocks is in the leg, and what would be negative counts as 0.
The last three legs exist where the worker ranks. Of what others judged it measures the signals, as
the topic `signals`, from their own timestamps. Not counted are records that change nothing in
Redis, batches that Redis did not take whole, and what comes while a thousand cycles wait for Redis.
"""


def page() -> str:
    """The whole text of the page."""
    return _HEAD + "".join(map(_row, METRICS)) + _LEGS


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
        sys.exit("usage: python -m builders.metrics_page FILE")
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
