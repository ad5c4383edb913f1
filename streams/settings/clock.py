"""The log's time: brokers stamp heartbeats on `instances`, and all workers go by these stamps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from math import inf

from feedmill.events.decode import encode
from feedmill.events.instance import Instance
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection, RecordSender
from feedmill.streams.kafka.log_consumer import END, LogConsumer

log = logging.getLogger(__name__)

# A clock in a wrong time zone is an hour off.  A stamp further off would end overrides and windows.
_MAX_JUMP_MS = 2 * 3_600_000
# A stamp may have been delayed, so the stamp of this window that puts the time furthest counts.
_WINDOW_MS = 60_000
# A broker's clock was set if two stamps are at least a step off, agree, and have so much between.
_STEP_MS = 5_000
_AGREE_MS = 500
_CONFIRMED_AFTER_MS = 1_000
HEARTBEAT_S = 5.0
# The least time between two heartbeats, however much changes.
_LEAST_S = 0.1
_GOODBYE_S = 2.0
# How often the client is polled, which would else keep its reports for ever.
_SERVE_EVERY_S = 0.5
_MOST_RECORDS = 1000
# Heartbeats are rare; a cycle without one should cost little.
_READ_EVERY_S = 0.02


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


class LogClock:
    """The log's time: the newest broker's stamp on `instances`, and what passed since.

    The log's time is the same for all workers to within the delay of a read, whatever the clocks of
    their hosts.  Only where the broker's clock was set back by five seconds or more it goes back;
    else it stands still until the broker's clock is there.  Before the first stamp it is the
    host's time of day.  One thread stamps it, any thread may read it.
    """

    def __init__(self, monotonic_ms: Callable[[], float] = lambda: time.monotonic() * 1000) -> None:
        self.refused = 0
        self.trouble = ""
        self._monotonic_ms = monotonic_ms
        self._base_ms: float | None = None
        self._latest_ms = 0
        self._window_ends_ms = -inf
        self._window_base_ms = -inf  # the highest within the window
        self._step: tuple[float, float] | None = None  # its base, and when it was seen first

    @property
    def is_set(self) -> bool:
        """True once a stamp was seen."""
        return self._base_ms is not None

    @property
    def wants_stamp(self) -> bool:
        """True while the next stamp decides whether the broker's clock was set."""
        step = self._step
        return step is not None and self._monotonic_ms() >= step[1] + _CONFIRMED_AFTER_MS

    def now_ms(self) -> int:
        """Unix milliseconds."""
        if self._base_ms is None:
            return now_ms()
        self._latest_ms = max(self._latest_ms, int(self._base_ms + self._monotonic_ms()))
        return self._latest_ms

    def stamp(self, at_ms: int) -> bool:
        """Take a broker's stamp; return False if it is more than two hours off, and refused."""
        monotonic_ms = self._monotonic_ms()
        base = at_ms - monotonic_ms
        if self._base_ms is None:
            self._set(base, monotonic_ms)
            return True
        jump_ms = base - self._base_ms
        if abs(jump_ms) > _MAX_JUMP_MS:
            self.refused += 1
            self.trouble = (
                f"the broker's clock jumped by {jump_ms / 3_600_000:+.1f} hours;"
                " the old time goes on. Correct that clock, or restart all workers to follow it"
            )
            return False
        self.trouble = ""
        if abs(jump_ms) > _STEP_MS:
            self._follow_step(base, monotonic_ms)
            return True
        self._step = None
        self._window_base_ms = max(self._window_base_ms, base)
        if base > self._base_ms:
            self._base_ms = base
        elif monotonic_ms >= self._window_ends_ms:
            self._base_ms = self._window_base_ms
        if monotonic_ms >= self._window_ends_ms:
            self._window_base_ms, self._window_ends_ms = base, monotonic_ms + _WINDOW_MS
        return True

    def _follow_step(self, base: float, monotonic_ms: float) -> None:
        """Follow stamps that are far off if they agree; a delayed stamp agrees with no other."""
        step = self._step
        if step is None or abs(base - step[0]) > _AGREE_MS:
            self._step = base, monotonic_ms
        elif monotonic_ms >= step[1] + _CONFIRMED_AFTER_MS:
            self._set(base, monotonic_ms)

    def _set(self, base: float, monotonic_ms: float) -> None:
        self._base_ms = self._window_base_ms = base
        self._window_ends_ms, self._step = monotonic_ms + _WINDOW_MS, None
        self._latest_ms = 0


class Heartbeats:
    """Writes heartbeats at once, outside of all transactions; never waits."""

    def __init__(self, connection: Connection) -> None:
        self._instance = connection.environment.instance
        self._sender = RecordSender(connection, "instances", connection.health.report)
        self._sender.connect()
        self._next_at = self._serve_at = self._least_at = 0.0
        self._stages: set[str] = set()

    def beat(self, now_s: float, instances: Callable[[], Iterable[Instance]]) -> None:
        """Write a record for each stage if a heartbeat is due."""
        if now_s >= self._serve_at:
            self._serve_at = now_s + _SERVE_EVERY_S
            self._sender.serve()
        if now_s < max(self._next_at, self._least_at):
            return
        self._next_at, self._least_at = now_s + HEARTBEAT_S, now_s + _LEAST_S
        for instance in instances():
            self._stages.add(instance.stage)
            self._write(instance.stage, encode(instance))

    def hurry(self) -> None:
        """Let the next `beat` write, at the earliest 0.1 s after the last beat."""
        self._next_at = 0.0

    def leave(self) -> None:
        """Write that each stage stopped in order; waits up to two seconds."""
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
        """Write a heartbeat if one is due, and read what came; never waits.

        It reads every 20 ms, and until the first stamp in every call.
        """
        now_s = time.monotonic()
        # Not earlier: the first stamp must be that of a heartbeat of this worker.
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
        """Write that all stages stopped."""
        self.heartbeats.leave()
        self._log.close()
