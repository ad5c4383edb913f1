"""Who ranks: the owner of `posts[0]`, under the time of its latest claim on `feed-shards[0]`.

A claim is written in the owner's transaction, so no former owner can write one any more.  The
broker's timestamp of it is the token: it is above that of every former owner, a combiner in a
process of its own included, and neither a flush of Redis nor a lagging replica lowers it.
"""

from __future__ import annotations

import time
import uuid

from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import END, LogConsumer
from feedmill.streams.worker.step import Writer

TOPIC = "feed-shards"
# Where no claim is on its way, nothing of interest comes; but a client must be polled.
_READ_EVERY_S = 0.05
RANKING_PARTITION = 0


class RankingClaim:
    """Claims the ranking after an assignment, and knows the token while it holds.

    Attributes
    ----------
    token
        The claim's timestamp, Unix milliseconds; None while this worker must not write Redis.
    """

    def __init__(self, connection: Connection) -> None:
        self.token: int | None = None
        self._source = TopicPartition(TOPIC, RANKING_PARTITION)
        self._instance = connection.environment.instance
        self._log = LogConsumer(connection, "claims on the ranking")
        self._log.add({self._source: END})
        self._claim = b""
        self._is_wanted = False
        self._read_at = 0.0

    @property
    def is_wanted(self) -> bool:
        """Whether this worker is the one to rank."""
        return self._is_wanted

    def assigned(self, change: AssignmentChange) -> None:
        """Give the ranking up, or get ready to claim it, as the assignment has it."""
        if RANKING_PARTITION in change.kept:
            return
        self.token, self._claim = None, b""
        self._is_wanted = RANKING_PARTITION in change.gained

    def follow(self, writer: Writer, *, is_restored: bool) -> bool:
        """Claim once everything is read; return whether the token is new.  Never waits."""
        now_s = time.monotonic()
        if (self._is_wanted and self.token is None) or now_s >= self._read_at:
            self._read_at = now_s + _READ_EVERY_S
            for batch in self._log.read(1000):
                for record in batch.records:
                    if self._claim and record.key == self._claim:
                        self.token = record.timestamp
                        return True
        if self._is_wanted and is_restored and not self._claim and self._log.all_restored():
            self._claim = f"{self._instance}/{uuid.uuid4().hex}".encode()
            writer.add(
                TOPIC,
                self._claim,
                self._instance.encode(),
                owner=RANKING_PARTITION,
                partition=RANKING_PARTITION,
            )
        return False

    def ready_reason(self) -> str:
        """Say what is waited for; "" where another worker ranks, or this one does."""
        return "claiming the ranking" if self._is_wanted and self.token is None else ""

    def close(self) -> None:
        self._log.close()
