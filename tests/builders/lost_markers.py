"""Records of a transaction that never ends, as a broker leaves them that lost their markers."""

import contextlib
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from kafka.record.default_records import DefaultRecordBatchBuilder

from builders.bombs import RefusedBatch, ask, send_batch, text_of
from builders.waiting import until

_INIT_PRODUCER_ID = (22, 0)


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
    with _partitions_unverified(kafka) as unverify:
        answer = ask(kafka, _INIT_PRODUCER_ID, text_of(transactional_id) + struct.pack(">i", 5000))
        error, producer_id, epoch = struct.unpack(">hqh", answer[4:16])
        assert error == 0
        batch = DefaultRecordBatchBuilder(2, 0, True, producer_id, epoch, 0, 1_000_000)
        for i, (key, value) in enumerate(records):
            batch.append(i, int(time.time() * 1000), key, value, [])
        written = bytes(batch.build())

        def is_written() -> bool:
            with contextlib.suppress(RefusedBatch):
                send_batch(kafka, topic, partition, written, transactional_id)
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
