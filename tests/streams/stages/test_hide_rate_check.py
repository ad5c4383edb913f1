"""The running check in a stage: what is lowered, and when the alarm comes and goes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import numpy as np
import pytest

from builders.events import post
from builders.records import StoredRecord
from feedmill.events.settings import Settings
from feedmill.filters.verdicts import BatchVerdicts
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.settings.environment import Environment
from feedmill.streams.stages.hide_rate_check import HideRateGuard

HERE = TopicPartition("posts", 0)


def check(cap: float = 0.10) -> tuple[HideRateGuard, Metrics]:
    metrics = Metrics("spam", "one")
    made = HideRateGuard(
        "spam", Environment(flagged_cap=cap), metrics, lambda posts: BatchVerdicts(np.zeros(0), {})
    )
    made.settings_changed(Settings())
    asyncio.run(made.follow({HERE: 0}))
    return made, metrics


def judge(made: HideRateGuard, first: int, values: list[float], **more: Any) -> BatchVerdicts:
    """One batch of posts of the community `x` with these model values."""
    records = [StoredRecord(n, 1000 * n) for n in range(first, first + len(values))]
    posts = [(r, post(f"p{r.offset}", communities=("x",))) for r in records]
    said = BatchVerdicts(np.array(values), more.get("errors", {}))
    made.lower(RecordBatch(HERE, records), range(len(posts)), posts, said)
    return said


def gauge(metrics: Metrics, name: str) -> float:
    lines = [line for line in metrics.text().splitlines() if line.startswith(name + "{")]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0


def test_an_alarm_comes_once_and_goes_once(caplog: pytest.LogCaptureFixture) -> None:
    made, metrics = check()
    with caplog.at_level(logging.WARNING):
        for start in range(0, 400, 40):
            said = judge(made, start, [0.95, 0.1, 0.1, 0.1] * 10)
        assert said.values.max() == pytest.approx(0.9, abs=1e-6)
        assert said.values.max() < 0.9
        assert said.reasons[0] == "capped: community:x has 25% flagged"
        assert gauge(metrics, "feedmill_capped_sources") == 1
        assert gauge(metrics, "feedmill_capped_total") == 50
        for start in range(400, 2000, 40):
            judge(made, start, [0.1] * 40)
        assert gauge(metrics, "feedmill_capped_sources") == 0
    began, ended = (record.getMessage() for record in caplog.records)
    assert began.startswith("spam flags 25 % of community:x, more than 10 %")
    assert ended == "spam no longer flags too much of community:x"


def test_a_cap_of_one_lowers_nothing() -> None:
    made, _ = check(cap=1.0)
    for start in range(0, 1000, 100):
        assert judge(made, start, [0.95] * 100).values.min() == 0.95


def test_posts_on_which_the_model_failed_do_not_count() -> None:
    made, _ = check()
    errors = dict.fromkeys(range(0, 100, 2), "broken")
    for start in range(0, 380, 100):
        judge(made, start, [0.95, 0.1] * 50, errors=errors)
    assert judge(made, 400, [0.95]).values[0] == 0.95


def test_partitions_that_stay_keep_their_counts() -> None:
    made, _ = check()
    judge(made, 0, [0.95, 0.1] * 150)
    asyncio.run(made.follow({HERE: 300}))
    assert judge(made, 300, [0.95]).values[0] < 0.9
