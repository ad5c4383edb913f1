"""One of three brokers is killed, another one in each round: the engine goes on without it."""

import contextlib
import math
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from builders.engine import Engine
from builders.waiting import until
from chaos.recovery import Probe
from chaos.scenario import Chaos, Rows
from chaos.server_faults import fault_row
from feedmill.deploy.local import LocalStackError, status, up

# What the engine adds to the pause of Kafka itself, which elects other leaders, and perhaps another
# controller: the session of a broker is 4 s.
PAUSE_BAR_S = 10.0


def run(chaos: Chaos) -> Rows:
    rounds = 6 if chaos.is_long else 1
    address, folder = chaos.own_stack(brokers=3)
    engine = chaos.engine(kafka=address.kafka, redis=address.redis)
    brokers = cycle(range(3))
    of_kafka: list[float] = []
    of_engine: list[float] = []

    @contextlib.contextmanager
    def killed() -> Iterator[None]:
        with _one_killed(folder, next(brokers)):
            start = time.monotonic()
            probe = Probe(engine)
            of_kafka.append(time.monotonic() - start)
            of_engine.append(probe.seconds() - of_kafka[-1])
            yield

    row = fault_row(
        chaos,
        engine,
        "one of three brokers killed: then until posts are ranked",
        killed,
        seconds=1.0,
        rounds=rounds,
        compare=chaos.is_long,
        is_told=False,
    )
    yield replace(
        row,
        fault="one of three brokers killed: until Kafka takes posts",
        recover_s=max(of_kafka),
        recover_bar_s=math.inf,
    )
    failures = (*row.failures, *_replicas(engine))
    yield replace(row, recover_s=max(of_engine), recover_bar_s=PAUSE_BAR_S, failures=failures)


@contextlib.contextmanager
def _one_killed(folder: Path, number: int) -> Iterator[None]:
    broker = status(folder).kafka_pids[number]
    assert broker is not None
    os.kill(broker, signal.SIGKILL)
    until(lambda: status(folder).stopped == (f"Kafka's broker {number + 1}",))
    assert status(folder).running
    with contextlib.suppress(LocalStackError):
        raise AssertionError(up(folder, brokers=1))
    try:
        yield
    finally:
        up(folder)
        # Its replicas are in sync again, or the next one killed would leave one alone.
        time.sleep(5.0)


def _replicas(engine: Engine) -> Iterator[str]:
    """Say which topics, of which Kafka made some itself, outlive no broker."""
    admin = KafkaAdminClient(bootstrap_servers=engine.kafka)
    names = [engine.topic("posts"), "__consumer_offsets", "__transaction_state"]
    try:
        found = {topic["name"]: topic["partitions"] for topic in admin.describe_topics()}
        for name in names:
            if {len(partition["replica_nodes"]) for partition in found[name]} != {3}:
                yield f"{name} is not on three brokers"
            resource = ConfigResource(ConfigResourceType.TOPIC, name)
            configs = admin.describe_configs([resource], config_filter="all")["topic"][name]
            if configs["min.insync.replicas"]["value"] != "2":
                yield f"one broker of {name} has records alone"
    finally:
        admin.close()
