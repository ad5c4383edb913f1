"""Records of a transaction that never ends, as a broker leaves them that lost their markers."""

import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from kafka.record.default_records import DefaultRecordBatchBuilder

from builders.waiting import until

_PRODUCE, _INIT_PRODUCER_ID = (0, 3), (22, 0)


def leave_open(
    kafka: str,
    transactional_id: str,
    topic: str,
    partition: int,
    records: Sequence[tuple[bytes, bytes]],
) -> None:
    """Write records in a transaction that the coordinator knows nothing of.

    As in a transaction that it has ended already, without this partition's marker.
    """
    with _partitions_unverified(kafka) as unverify, _connected(kafka) as broker:
        answer = _ask(broker, _INIT_PRODUCER_ID, _text(transactional_id) + struct.pack(">i", 5000))
        error, producer_id, epoch = struct.unpack(">hqh", answer[4:16])
        assert error == 0
        batch = DefaultRecordBatchBuilder(2, 0, True, producer_id, epoch, 0, 1_000_000)
        for i, (key, value) in enumerate(records):
            batch.append(i, int(time.time() * 1000), key, value, [])
        written = bytes(batch.build())
        place = (
            struct.pack(">i", 1) + _text(topic) + struct.pack(">iii", 1, partition, len(written))
        )
        head = _text(transactional_id) + struct.pack(">hi", -1, 10_000)
        request = head + place + written
        # Behind the count of topics, the name, the count of partitions and the partition.
        error_at = 4 + 2 + len(topic) + 4 + 4

        def is_written() -> bool:
            answer = _ask(broker, _PRODUCE, request)
            if struct.unpack_from(">h", answer, error_at) == (0,):
                return True
            # The setting is changed a moment after the broker says so, and another test that runs
            # at the same time may have set it back.
            unverify()
            return False

        until(is_written)


@contextmanager
def _partitions_unverified(kafka: str) -> Iterator[Callable[[], None]]:
    """Have the broker believe that a partition is in the transaction that its records name.

    Gives a function that tells it so again.
    """
    admin = AdminClient({"bootstrap.servers": kafka})

    def change(operation: AlterConfigOpType, value: str | None) -> None:
        name = "transaction.partition.verification.enable"
        entry = ConfigEntry(name, value, incremental_operation=operation)
        broker = ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=[entry])
        for future in admin.incremental_alter_configs([broker]).values():
            future.result(30)

    def unverify() -> None:
        change(AlterConfigOpType.SET, "false")

    unverify()
    try:
        yield unverify
    finally:
        change(AlterConfigOpType.DELETE, None)


@contextmanager
def _connected(kafka: str) -> Iterator[socket.socket]:
    host, _, port = kafka.partition(":")
    with socket.create_connection((host, int(port)), 30) as broker:
        yield broker


def _ask(broker: socket.socket, api: tuple[int, int], body: bytes) -> bytes:
    """Send a request of an api key and version; return the answer behind its correlation id."""
    request = struct.pack(">hhi", *api, 1) + _text("test") + body
    broker.sendall(struct.pack(">i", len(request)) + request)
    with broker.makefile("rb") as answers:
        (size,) = struct.unpack(">i", answers.read(4))
        return answers.read(size)[4:]


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()
