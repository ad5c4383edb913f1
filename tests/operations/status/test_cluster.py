"""Misconfigured brokers: planted in one of their own, or faked where it would take several."""

import os
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from builders.examined import PARTITIONS, Examined
from builders.own_redis import OwnRedis
from builders.waiting import now_ms, until
from feedmill.deploy.local import down, status, up
from feedmill.deploy.local.process import Server, free_port
from feedmill.deploy.local.stack import redis_cli, redis_serves
from feedmill.operations.status import cluster, redis_server
from feedmill.operations.status.finding import Finding
from feedmill.operations.status.health import DOCTOR_CHECKS
from feedmill.operations.status.installation import Check, Installation, Topic, examine
from feedmill.streams.environment import Environment, read_environment

WRONG = {
    "transaction.max.timeout.ms": "1000",
    "group.max.session.timeout.ms": "8000",
    "socket.request.max.bytes": "1000000",
    "log.cleaner.enable": "false",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
}
UNWISE = {"offsets.retention.minutes": "60", "auto.create.topics.enable": "true"}
NOWHERE = {"advertised.listeners": "PLAINTEXT://nowhere.invalid:9092"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "stack"
    down(tmp_path / "stack")


def findings(place: Examined, checks: tuple[Check, ...] = DOCTOR_CHECKS) -> list[Finding]:
    inst = Installation(read_environment(place.variables), place.variables, now_ms)
    try:
        return examine(inst, checks).findings
    finally:
        inst.close()


def settings_of(ways_out: list[Finding]) -> dict[str, str]:
    """What the ways out say is to be set in server.properties."""
    named = (re.match(r"set ([\w.]+)=(\w+) in", finding.way_out) for finding in ways_out)
    return {match[1]: match[2] for match in named if match}


def test_a_misconfigured_broker_is_named_and_restarted_as_the_ways_out_say(folder: Path) -> None:
    kafka = up(folder, broker_settings=NOWHERE).kafka
    variables = {"FEEDMILL_KAFKA": kafka}
    inst = Installation(read_environment(variables), variables, now_ms)
    (finding,) = examine(inst, (cluster.addresses, cluster.broker_settings)).findings[:1]
    assert "nowhere.invalid does not resolve" in finding.what
    assert "advertised.listeners" in finding.way_out

    down(folder)
    kafka = up(folder, broker_settings=WRONG | UNWISE).kafka
    place = Examined(kafka, folder, "")
    found = [one for one in findings(place) if one.check == "broker settings"]
    told = {one.what.split()[0]: one.severity for one in found}
    assert told == dict.fromkeys(WRONG, "wrong") | dict.fromkeys(UNWISE, "warn")
    place.admin.close()

    down(folder)
    up(folder, broker_settings=settings_of(found))
    # A broker that stands still takes connections, and answers nobody.
    pid = status(folder).kafka_pids[0]
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert [one.check for one in findings(place)] == ["kafka"]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert place.run(f"topics create --partitions {PARTITIONS}").exit_code == 0
    assert findings(place) == []
    place.redis.close()


def faked(topics: Mapping[str, Topic], count: int, version: tuple[int, ...] = (4, 3)) -> Any:
    """A cluster of several brokers, by what it would answer."""
    return SimpleNamespace(
        environment=Environment(),
        topics=topics,
        table={"posts": None},
        brokers={n: f"broker-{n}:9092" for n in range(count)},
        command=lambda words: f"`feedmill {words}`",
        admin=SimpleNamespace(
            get_broker_version_data=lambda _: SimpleNamespace(broker_version=version)
        ),
    )


def topic(replicas: int, in_sync: int, least: int, leader: int = 0) -> Mapping[str, Topic]:
    settings = {"min.insync.replicas": str(least)}
    brokers_of, there = tuple(range(replicas)), tuple(range(in_sync))
    return {"posts": Topic("id", {0: leader}, {0: brokers_of}, {0: there}, settings)}


@pytest.mark.parametrize(
    ("check", "topics", "says"),
    [
        (cluster.replicas, topic(1, 1, 1), "loss of one broker loses the topic"),
        (cluster.replicas, topic(3, 3, 1), "one broker alone has is acknowledged"),
        (cluster.replicas, topic(2, 2, 2), "one broker that is away stops all"),
        (cluster.replicas, topic(3, 2, 2, leader=-1), "have no leader"),
        (cluster.replicas, topic(3, 1, 2), "writes are refused"),
        (cluster.replicas, topic(3, 2, 2), "down or behind"),
    ],
    ids=["one replica", "one acknowledges", "none may fail", "no leader", "too few", "behind"],
)
def test_what_several_brokers_have_wrong_is_named(
    check: Check, topics: Mapping[str, Topic], says: str
) -> None:
    (finding,) = check(cast(Installation, faked(topics, 3)))
    assert says in finding.what
    assert finding.way_out


def test_three_brokers_as_they_should_be_have_nothing() -> None:
    healthy = cast(Installation, faked(topic(3, 3, 2), 3))
    for check in (cluster.replicas, cluster.broker_version):
        assert list(check(healthy)) == []


def test_a_broker_that_is_too_old_is_named() -> None:
    old = cast(Installation, faked(topic(1, 1, 1), 1, version=(2, 6)))
    (finding,) = cluster.broker_version(old)
    assert "Kafka 2.6" in finding.what
    assert "upgrade" in finding.way_out


def test_a_node_of_a_cluster_at_the_address_of_one_server_is_named(tmp_path: Path) -> None:
    port = free_port(set())
    # Otherwise it is the port and 10,000, where clients of other servers may have theirs.
    bus_port = free_port({port})
    server = Server("redis-cluster", tmp_path)
    program = redis_cli()[0].replace("-cli", "-server")
    options = ["--port", str(port), "--dir", str(tmp_path), "--cluster-enabled", "yes"]
    server.start([program, *options, "--cluster-port", str(bus_port), "--bind", "127.0.0.1"])
    try:
        until(lambda: redis_serves(port))
        variables = {"FEEDMILL_REDIS": f"redis://127.0.0.1:{port}/0"}
        inst = Installation(read_environment(variables), variables, now_ms)
        (finding,) = examine(inst, [redis_server.redis_kind]).findings
        assert "cluster" in finding.what
        assert f"FEEDMILL_REDIS=redis+cluster://127.0.0.1:{port}" in finding.way_out
    finally:
        server.stop(10)


def test_a_redis_that_is_too_old_is_named(own_redis: OwnRedis) -> None:
    info = {"redis_version": "5.0.7", "role": "master"}
    node = SimpleNamespace(address=own_redis.url, info=info)
    inst = SimpleNamespace(environment=Environment(redis=own_redis.url), redis_nodes=[node])
    (finding,) = redis_server.redis_kind(cast(Installation, inst))
    assert "Redis 5.0.7" in finding.what
