"""Kafka of the local stack: brokers on loopback, each of which is a controller too (KRaft)."""

from __future__ import annotations

import base64
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from feedmill.deploy.local.java import broker_tuning, java_command
from feedmill.deploy.local.process import HOST, LocalStackError, Server

# A dead letter holds up to 1 MiB of a rejected record, a key and headers, so the broker's limit is
# above the 1 MiB that the topics of events set for themselves.
_MAX_RECORD_BYTES = 4 * 1024 * 1024

# The quorum is part of these settings, not of the formatted folder (`--standalone`), so that the
# controller can use another port at the next start.
_PROPERTIES = f"""\
process.roles=broker,controller
node.id={{node}}
listeners=PLAINTEXT://{HOST}:{{port}},CONTROLLER://{HOST}:{{controller_port}}
advertised.listeners=PLAINTEXT://{HOST}:{{port}}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters={{voters}}
log.dirs={{folder}}

auto.create.topics.enable=false
num.partitions=4
message.max.bytes={_MAX_RECORD_BYTES}
replica.fetch.max.bytes={_MAX_RECORD_BYTES}
log.retention.check.interval.ms=60000
# Each partition maps an index of this size; small segments need a small one.
log.index.size.max.bytes=2097152
# By default a quarter of the heap; 16 MiB are enough to compact 600,000 keys in one pass.
log.cleaner.dedupe.buffer.size=16777216

# A broker that was killed can register again only after its last session has ended.
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=4000

group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
# Longer than a broker that was killed takes to listen again, by its last session and 1 s: the
# markers of an abort would be lost.
transaction.abort.timed.out.transaction.cleanup.interval.ms=6000
share.coordinator.state.topic.num.partitions=4

# With three brokers one may be killed: nothing acknowledged is lost, and writes go on.
default.replication.factor={{replicas}}
min.insync.replicas={{in_sync}}
offsets.topic.replication.factor={{replicas}}
transaction.state.log.replication.factor={{replicas}}
transaction.state.log.min.isr={{in_sync}}
share.coordinator.state.topic.replication.factor={{replicas}}
share.coordinator.state.topic.min.isr={{in_sync}}

num.network.threads=2
num.io.threads=4
background.threads=4
"""


@dataclass(frozen=True)
class Broker:
    """One broker of a stack: its node id, from 1, its process and its ports."""

    node: int
    server: Server
    port: int
    controller_port: int

    @property
    def logs(self) -> Path:
        """The folder of its data."""
        return self.server.folder / self.server.name


def start_broker(
    broker: Broker, brokers: Sequence[Broker], settings: Mapping[str, str] | None = None
) -> None:
    """Format the broker's data folder if that was never done, and start it.

    `brokers` are all brokers of its cluster, and `settings` win over those of this module. Does
    not wait until it serves, see `broker_serves`. Raises `LocalStackError`.
    """
    properties = broker.server.folder / f"{broker.server.name}.properties"
    voters = ",".join(f"{broker.node}@{HOST}:{broker.controller_port}" for broker in brokers)
    text = _PROPERTIES.format(
        node=broker.node,
        port=broker.port,
        controller_port=broker.controller_port,
        voters=voters,
        folder=broker.logs,
        replicas=len(brokers),
        in_sync=(len(brokers) + 1) // 2,
    )
    for name, value in (settings or {}).items():
        text += f"{name}={value}\n"
    properties.write_text(text, "utf-8")
    if _cluster_id(broker) is None:
        known = [found for one in brokers if (found := _cluster_id(one))]
        _format(broker, properties, known[0] if known else _new_cluster_id())
    command = java_command("kafka.Kafka", [str(properties)], heap_mb=512, tuning=broker_tuning())
    broker.server.start(command)


def _cluster_id(broker: Broker) -> str | None:
    """The cluster that the broker's data folder was formatted for, if it was."""
    try:
        lines = (broker.logs / "meta.properties").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return None
    return dict(line.split("=", 1) for line in lines if "=" in line)["cluster.id"]


def _new_cluster_id() -> str:
    # Kafka's form of a uuid, 22 characters of url-safe base64; with "k" it is never like an option.
    return "k" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]


def _format(broker: Broker, properties: Path, cluster: str) -> None:
    arguments = ["format", "-t", cluster, "-c", str(properties), "--ignore-formatted"]
    command = java_command("kafka.tools.StorageTool", arguments, heap_mb=128)
    outcome = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if outcome.returncode:
        raise LocalStackError(
            f"Kafka cannot format {broker.logs}:"
            f" {(outcome.stderr or outcome.stdout).strip()[-2000:]}"
        )


def broker_serves(port: int, brokers: int = 1) -> bool:
    """Whether a broker on this port answers requests, and knows of so many brokers.

    An open socket is not enough: the broker has one while it still loads its logs.
    """
    metadata, version, correlation, no_client, no_topics = 3, 1, 1, -1, 0
    request = struct.pack(">hhihi", metadata, version, correlation, no_client, no_topics)
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            # Size, correlation id, number of brokers.
            answer = connection.recv(12, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(answer) == 12 and struct.unpack(">iii", answer)[2] >= brokers
