"""What a worker's `/metrics` says about records that went through it."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from builders.engine import WORKER, Engine, changed
from builders.engine_topics import post_of
from builders.waiting import until

pytestmark = pytest.mark.stack

TOPICS = ("posts", "engagements")
LEGS = (
    *("append_to_fetch", "fetch_to_judged", "judged_to_ranked"),
    *("ranked_to_redis", "append_to_redis"),
)
# Heartbeats, which tell of legs, too, come each second.
HASTY = "from feedmill.streams.settings import log_time", "log_time.HEARTBEAT_S = 1.0"


def samples(engine: Engine, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The samples of one name by the values of these labels."""
    text = engine.page(engine.workers[WORKER], "metrics")
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_every_leg_counts_every_record_and_every_cycle_is_measured(
    start_engine: Any, tmp_path: Path
) -> None:
    engine: Engine = start_engine(WORKER, **changed(tmp_path, *HASTY))
    posts = [f"p{i}" for i in range(30)]
    engine.posts(map(post_of, posts))
    engine.wait_decided(posts)
    for post_id in posts:
        engine.click(post_id)
    wanted = {(topic, leg): 30.0 for topic in ("posts", "engagements") for leg in LEGS}
    until(lambda: samples(engine, "feedmill_leg_seconds_count", "topic", "leg") == wanted)
    total = samples(engine, "feedmill_leg_seconds_sum", "topic", "leg")
    for topic in ("posts", "engagements"):
        parts = sum(total[topic, leg] for leg in LEGS[:-1])
        # The legs share their ends, so they add up but for rounding.
        assert total[topic, "append_to_redis"] == pytest.approx(parts, rel=1e-6)
    taken = samples(engine, "feedmill_batch_records_sum", "topic")
    assert taken == {("posts",): 30, ("engagements",): 30}
    partitions = {
        (f"{engine.prefix}worker", topic, str(p)): 0.0
        for topic in ("posts", "engagements")
        for p in range(4)
    }
    labels = ("group", "topic", "partition")
    until(lambda: samples(engine, "feedmill_partition_lag", *labels) == partitions)
    # Heartbeats tell of it too, in the record of each stage.
    until(lambda: all({*TOPICS} == {*one["legs"]} for one in engine.instances().values()))
    for beat in engine.instances().values():
        for legs in beat["legs"].values():
            assert legs.keys() == {*LEGS}
            assert all(0 <= one["p50_ms"] <= one["p99_ms"] for one in legs.values())
        assert beat["reason"] == ""
        assert 50 < beat["memory_mib"] < 5_000
        assert beat["refused_writes"] == beat["capped_count"] == 0
    (cycles,) = samples(engine, "feedmill_loop_seconds_count").values()
    (cpu_cycles,) = samples(engine, "feedmill_loop_cpu_seconds_count").values()
    assert 1 <= cycles <= cpu_cycles
    (cpu_seconds,) = samples(engine, "feedmill_loop_cpu_seconds_sum").values()
    assert cpu_seconds > 0
