"""The exporter writes a part where enough waits, whichever topic it is of."""

import json
from pathlib import Path

import pytest

from builders.kafka_log import KafkaLog
from feedmill.deploy.local import StackAddress
from feedmill.experiments.parts import Part
from feedmill.operations import experiment_export
from feedmill.operations.experiment_export import ExportOptions, export

pytestmark = pytest.mark.stack
EVENTS = 400


@pytest.mark.parametrize("topic", ["exposures", "engagements"])
def test_a_backlog_becomes_parts(
    topic: str, stack: StackAddress, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment_export, "_MOST_RECORDS", 20)
    log = KafkaLog.created(stack.kafka, prefix)
    page = {"experiment": "none", "arm": "a", "feed": "global", "version": 1, "first": 0}
    what: dict[str, dict[str, object]] = {
        "exposures": {**page, "count": 10},
        "engagements": {"post_id": "p", "kind": "impression"},
    }
    event = {"user_id": "u", "at_ms": 1_700_000_000_000, **what[topic]}
    key = b"u" if topic == "exposures" else b"p"
    log.produce(topic, [(key, json.dumps(event).encode())] * EVENTS)
    parts: list[Part] = []
    options = ExportOptions(tmp_path / "out", part_s=3600.0, part_rows=100)
    export(log.environment, options, parts.append)
    counts = [part.rejected_count + part.tables.get(topic, 0) for part in parts]
    assert sum(counts) == EVENTS
    assert len(counts) >= 3
    assert max(counts) < 200
