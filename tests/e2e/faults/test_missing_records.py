"""Records that are gone: those read already are not missed, unread ones stop their partition."""

from kafka import OffsetAndMetadata, TopicPartition
from kafka.admin import KafkaAdminClient

from builders.engine_topics import PARTITIONS, id_in
from builders.fault_engine import ALL_STAGES, FaultEngine
from builders.named_commands import reason_of, remove_records, run_named
from builders.waiting import until

STOPPED = 2


def committed(engine: FaultEngine, partition: int) -> int:
    admin = KafkaAdminClient(bootstrap_servers=engine.kafka)
    group = engine.topic("worker")
    try:
        found = admin.list_group_offsets(group)
        found = found.get(group, found)
        return int(found[TopicPartition(engine.topic("posts"), partition)].offset)
    finally:
        admin.close()


def say_not_ready(engine: FaultEngine) -> bool:
    """Whether all stages of the worker that runs do, each with a reason that is cut to a bound."""
    pid = engine.workers[ALL_STAGES].pid
    beats = [one for one in engine.instances().values() if one["pid"] == pid]
    return bool(beats) and all(not b["ready"] and 0 < len(b["reason"]) <= 500 for b in beats)


def test_a_partition_stops_loudly_and_goes_on_by_the_command_that_is_named(
    engine: FaultEngine,
) -> None:
    worker = engine.ready_worker()
    first = [id_in(p, "first") for p in range(PARTITIONS)]
    for post in first:
        engine.post(post)
    engine.click(first[0], "one")
    until(lambda: set(first) <= set(engine.order()) and engine.clicks()[first[0]] == 1)
    worker.stop()
    for topic in ("posts", "engagements"):
        remove_records(engine, topic)
    # A restart is ready where retention removed what was read.
    engine.ready_worker()
    for user in ("two", "two", "three"):
        engine.click(first[0], user)
    until(lambda: engine.clicks()[first[0]] >= 3)
    engine.workers[ALL_STAGES].stop()

    engine.post(id_in(STOPPED, "unread"))
    before = committed(engine, STOPPED)
    remove_records(engine, "posts", STOPPED)
    engine.restart(ALL_STAGES)
    command = f"feedmill groups reset-offsets worker posts:{STOPPED} --to earliest"
    named = f"stop all workers, then: {command}"
    reason = until(lambda: reason_of(engine, ALL_STAGES, named))
    others = [id_in(p, "then") for p in range(PARTITIONS) if p != STOPPED]
    late = id_in(STOPPED, "late")
    for post in (*others, late):
        engine.post(post)
    engine.wait_decided(others)
    until(lambda: set(others) <= set(engine.order()))
    until(lambda: say_not_ready(engine))
    assert late not in engine.order()
    # An engagement of a post that is not read holds nothing up behind it.
    engine.click(late, "one")
    engine.click(first[STOPPED], "one")
    until(lambda: engine.clicks()[first[STOPPED]] == 1)
    engine.workers[ALL_STAGES].stop()
    assert committed(engine, STOPPED) == before
    run_named(engine, reason)
    engine.restart(ALL_STAGES)
    engine.wait_ready()
    until(lambda: late in engine.order())
    assert engine.clicks()[first[0]] == 3


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
    until(lambda: say_not_ready(engine))
    assert committed(engine, STOPPED) == 1000
