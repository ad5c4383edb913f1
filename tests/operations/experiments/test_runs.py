"""Which changes of models come between an experiment and its result."""

import json
from types import SimpleNamespace
from typing import Any

from feedmill.operations.experiments.runs import releases_during
from feedmill.streams.kafka.topic_reader import TopicRecord

VERSION = {"sha256": "a" * 64, "answers": [0.5]}


def test_what_decides_on_posts_changes_an_experiment_and_what_scores_in_shadow_does_not() -> None:
    run: Any = SimpleNamespace(
        started=SimpleNamespace(at_ms=10),
        stopped=SimpleNamespace(at_ms=20),
        experiment=SimpleNamespace(feeds=("global",)),
    )
    told: tuple[tuple[int, str, Any], ...] = (
        *((5, "spam", VERSION), (11, "spam", VERSION), (12, "candidate/spam", VERSION)),
        *((13, "candidate/spam", {**VERSION, "partitions": 2}), (14, "candidate/spam", None)),
        *((15, "candidate/spam", {}), (16, "list/spam/bad", VERSION), (21, "spam", VERSION)),
    )
    records = [
        TopicRecord(n, at_ms, key.encode(), None if value is None else json.dumps(value).encode())
        for n, (at_ms, key, value) in enumerate(told)
    ]
    assert [change.offset for change in releases_during(records, run)] == [1, 3, 4, 6]
