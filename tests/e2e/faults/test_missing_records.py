"""Records that are gone before they were read: their partition stops, and an operator decides."""

from kafka import OffsetAndMetadata, TopicPartition
from kafka.admin import KafkaAdminClient

from builders.engine_topics import PARTITIONS
from builders.fault_engine import ALL_STAGES, FaultEngine
from builders.named_commands import reason_of, remove_records, run_named
from builders.waiting import until
from feedmill.events.partition import partition_of

STOPPED = 2


def of_partition(partition: int, name: str) -> str:
    """A post id that belongs to a partition."""
    ids = (f"{name}-{i}" for i in range(1000))
    return next(one for one in ids if partition_of(one.encode(), PARTITIONS) == partition)


def committed(engine: FaultEngine, partition: int) -> int:
    admin = KafkaAdminClient(bootstrap_servers=engine.kafka)
    group = engine.topic("worker")
    try:
        found = admin.list_group_offsets(group)
        found = found.get(group, found)
        return int(found[TopicPartition(engine.topic("posts"), partition)].offset)
    finally:
        admin.close()


def test_a_partition_stops_loudly_and_goes_on_by_the_command_that_is_named(
    engine: FaultEngine,
) -> None:
    worker = engine.ready_worker()
    first = [of_partition(p, "first") for p in range(PARTITIONS)]
    for post in first:
        engine.post(post)
    until(lambda: set(first) <= set(engine.order()))
    worker.stop()
    engine.post(of_partition(STOPPED, "unread"))
    before = committed(engine, STOPPED)
    remove_records(engine, "posts", STOPPED)

    engine.start_worker()
    command = f"feedmill groups reset-offsets worker posts:{STOPPED} --to earliest"
    named = f"stop all workers, then: {command}"
    reason = until(lambda: reason_of(engine, ALL_STAGES, named))
    others = [of_partition(p, "then") for p in range(PARTITIONS) if p != STOPPED]
    for post in others:
        engine.post(post)
    until(lambda: set(others) <= set(engine.order()))
    late = of_partition(STOPPED, "late")
    engine.post(late)
    engine.wait_decided([*others])
    beats = [
        one for one in engine.instances().values() if one["pid"] == engine.workers[ALL_STAGES].pid
    ]
    assert beats and not any(beat["ready"] for beat in beats)
    # Each says why, cut to a bound.
    assert all(0 < len(beat["reason"]) <= 500 for beat in beats)
    assert committed(engine, STOPPED) == before
    assert late not in engine.order()

    engine.workers[ALL_STAGES].stop()
    assert committed(engine, STOPPED) == before
    run_named(engine, reason)
    engine.restart(ALL_STAGES)
    engine.wait_ready()
    until(lambda: late in engine.order())


def test_a_log_that_was_cut_off_stops_its_partition_too(engine: FaultEngine) -> None:
    at = TopicPartition(engine.topic("posts"), STOPPED)
    admin = KafkaAdminClient(bootstrap_servers=engine.kafka)
    try:
        # As after an election of a leader that had not got all records.
        admin.alter_group_offsets(engine.topic("worker"), {at: OffsetAndMetadata(1000, "", -1)})
    finally:
        admin.close()
    log = engine.start_worker().log
    until(lambda: "the log was cut off" in log.read_text())
    assert f"feedmill groups reset-offsets worker posts:{STOPPED} --to latest" in log.read_text()
    beats = until(lambda: [b for b in engine.instances().values() if b["pid"] == pid(engine)])
    assert not any(beat["ready"] for beat in beats)
    assert committed(engine, STOPPED) == 1000


def pid(engine: FaultEngine) -> int:
    return engine.workers[ALL_STAGES].pid
