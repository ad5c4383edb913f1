"""`instances` from a worker's side: its own heartbeats out, the log's time in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from feedmill.events.decode import encode
from feedmill.events.instance import Instance
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import END, LogConsumer
from feedmill.streams.kafka.record_sender import RecordSender
from feedmill.streams.settings.clock import LogClock

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
# However much changes.
_LEAST_S = 0.1
_GOODBYE_S = 2.0
# A client that is not polled keeps its reports for ever.
_SERVE_EVERY_S = 0.5
_MOST_RECORDS = 1000
# Heartbeats are rare; a cycle without one should cost little.
_READ_EVERY_S = 0.02


class Heartbeats:
    """Writes heartbeats outside of all transactions: at once, aborts or not.  Never waits."""

    def __init__(self, connection: Connection) -> None:
        self._instance = connection.environment.instance
        self._sender = RecordSender(connection, "instances", connection.health.report)
        self._sender.connect()
        self._next_at = self._serve_at = self._least_at = 0.0
        self._stages: set[str] = set()

    def beat(self, now_s: float, instances: Callable[[], Iterable[Instance]]) -> None:
        """Write a record for each stage where it is time."""
        if now_s >= self._serve_at:
            self._serve_at = now_s + _SERVE_EVERY_S
            self._sender.serve()
        if now_s < max(self._next_at, self._least_at):
            return
        self._next_at, self._least_at = now_s + HEARTBEAT_S, now_s + _LEAST_S
        for one in instances():
            self._stages.add(one.stage)
            self._write(one.stage, encode(one))

    def hurry(self) -> None:
        """Have the next `beat` write, 0.1 s after the last at the earliest: something changed."""
        self._next_at = 0.0

    def leave(self) -> None:
        """Say of each stage that it ended in order; waits up to two seconds."""
        for stage in self._stages:
            self._write(stage, None)
        self._sender.connect().flush(_GOODBYE_S)

    def _write(self, stage: str, value: bytes | None) -> None:
        self._sender.send(f"{stage}/{self._instance}".encode(), value)


class LogTime:
    """Writes heartbeats every five seconds, and sets `clock` by the stamps of all workers'.

    A stamp that is refused is logged once, and counted in `feedmill_clock_refused_total`.

    `on_beat`, if set, gets the value and the stamp of each heartbeat that came.
    """

    def __init__(self, connection: Connection) -> None:
        self.clock = LogClock()
        self.heartbeats = Heartbeats(connection)
        self.on_beat: Callable[[bytes | None, int], None] | None = None
        self._log = LogConsumer(connection, "instances", live=True)
        self._log.add({TopicPartition("instances", 0): END})
        self._may_beat = False
        self._read_at = self._hurry_at = 0.0

    def follow(self, instances: Callable[[], Iterable[Instance]]) -> None:
        """Write a heartbeat where it is time, read what came; never waits.

        It reads every 20 ms, and until the first stamp in every call.
        """
        now_s = time.monotonic()
        # Not before: the first stamp is that of a heartbeat of our own.
        self._may_beat = self._may_beat or self._log.all_restored()
        if self._may_beat:
            if self.clock.wants_stamp and now_s >= self._hurry_at:
                self._hurry_at = now_s + 1.0
                self.heartbeats.hurry()
            self.heartbeats.beat(now_s, instances)
        if now_s < self._read_at:
            return
        self._read_at = now_s + _READ_EVERY_S if self.clock.is_set else now_s
        for batch in self._log.read(_MOST_RECORDS):
            for record in batch.records:
                self._stamp(record.timestamp)
                if self.on_beat is not None:
                    self.on_beat(record.value, record.timestamp)

    def _stamp(self, at_ms: int) -> None:
        refused_before = bool(self.clock.trouble)
        if not self.clock.stamp(at_ms) and not refused_before:
            log.error("%s", self.clock.trouble)

    def close(self) -> None:
        """Write for all stages that they stopped."""
        self.heartbeats.leave()
        self._log.close()
