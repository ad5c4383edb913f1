"""Kafka of the local stack: one broker, which is its own controller (KRaft), on loopback."""

from __future__ import annotations

import base64
import socket
import struct
import subprocess
import uuid
from pathlib import Path

from feedmill.deploy.local.errors import LocalStackError
from feedmill.deploy.local.java import java_command
from feedmill.deploy.local.ports import HOST
from feedmill.deploy.local.process import Server

# A dead letter holds up to 1 MiB of a rejected record, a key and headers, so the broker's limit is
# above the 1 MiB that the topics of events set for themselves.
_MAX_RECORD_BYTES = 4 * 1024 * 1024

# The quorum is part of these settings, not of the formatted folder (`--standalone`), so that the
# controller can use another port at the next start.
_PROPERTIES = f"""\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{HOST}:{{port}},CONTROLLER://{HOST}:{{controller_port}}
advertised.listeners=PLAINTEXT://{HOST}:{{port}}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{HOST}:{{controller_port}}
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
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

num.network.threads=2
num.io.threads=4
background.threads=4
"""


def start_kafka(server: Server, port: int, controller_port: int) -> None:
    """Format the data folder if that was never done, and start the broker.

    Does not wait until it serves, see `kafka_serves`. Raises `LocalStackError`.
    """
    logs = server.folder / "kafka"
    properties = server.folder / "kafka.properties"
    properties.write_text(
        _PROPERTIES.format(port=port, controller_port=controller_port, folder=logs), "utf-8"
    )
    if not (logs / "meta.properties").exists():
        _format(server, properties)
    server.start(java_command("kafka.Kafka", [str(properties)], heap_mb=512))


def _format(server: Server, properties: Path) -> None:
    # Kafka's form of a uuid, 22 characters of url-safe base64; with "k" it is never like an option.
    cluster = "k" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
    arguments = ["format", "-t", cluster, "-c", str(properties), "--ignore-formatted"]
    command = java_command("kafka.tools.StorageTool", arguments, heap_mb=128)
    outcome = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if outcome.returncode:
        raise LocalStackError(
            f"Kafka cannot format {server.folder / 'kafka'}:"
            f" {(outcome.stderr or outcome.stdout).strip()[-2000:]}"
        )


def kafka_serves(port: int) -> bool:
    """Whether a broker on this port answers requests.

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
    return len(answer) == 12 and struct.unpack(">iii", answer)[2] > 0
