"""A reader: one thread that follows the logs in slices and answers requests in between."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path

import msgspec
from confluent_kafka import KafkaException

from feedmill.events.decode import decode_instance
from feedmill.events.errors import BadEvent
from feedmill.events.instance import REASON_CHARACTERS, Instance
from feedmill.rankers.combiner.combiner import lacking
from feedmill.readers.page import page_of
from feedmill.readers.pool import Pool
from feedmill.readers.request import decode_request
from feedmill.readers.web import NotServed, ReaderWeb, RequestQueue, Tokens
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.observe.status import Status, status_pipe, write_status
from feedmill.streams.ranking.combiner_logs import OVERRIDES, POSTS, SIGNALS, CombinerLogs
from feedmill.streams.ranking.feed_freshness import FeedFreshness
from feedmill.streams.rights import rights_of
from feedmill.streams.settings.clock import LogTime
from feedmill.streams.settings.config_log import SettingsLog
from feedmill.streams.worker.heap import resident_mib, settle_memory, trim_heap
from feedmill.streams.worker.own_rights import OwnRights

log = logging.getLogger(__name__)

STAGE = "reader"
# Records are read this often, before requests; and how long a slice of them may take.
_CYCLE_S, _READ_S = 0.010, 0.006
_SLICE_RECORDS, _RESTORED_RECORDS = 100, 4_000
# What concerns many posts is done in parts of so long.
_WORK_S = 0.004
_TICK_S, _IDS_EVERY_S = 1.0, 5.0
# How long a program that is no worker may take for the signal of a post.
_LACKING_MS = 5_000
_BUILD = importlib.metadata.version("feedmill")
_encode = msgspec.json.Encoder().encode


class Reader:
    """Follows `config`, `instances`, `posts`, `signals.*` and `overrides`, and answers over HTTP.

    It joins no group, and writes nothing but heartbeats.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.metrics = Metrics(STAGE, environment.instance)
        self.stopping = asyncio.Event()
        path = environment.reader_tokens
        self._tokens = Tokens(Path(path)) if path else None
        self._queue = RequestQueue()
        self.web = ReaderWeb(self, self._queue, self._tokens)
        self._connection = Connection(environment)
        self._time = LogTime(self._connection)
        self._settings = SettingsLog(self._connection)
        self.pool = Pool(environment.signals)
        self._logs: CombinerLogs | None = None
        self._freshness = FeedFreshness(0, environment.instance)
        self._lacking: Generator[None, None, Iterable[str]] | None = None
        self._ids = RecreatedTopics(self._connection)
        needed = rights_of("reader", environment.signals).kafka
        self._rights = OwnRights(self._connection, needed)
        self._reason, self._closed, self._is_open = "starting", "starting", False
        self._tick_at = 0.0
        self._said_offset = -1
        self._pipe = status_pipe(os.environ)

    async def run(self, host: str, port: int) -> None:
        """Serve until `stopping` is set.

        Raises `UsageError`: a topic is missing, or the address cannot be used.
        """
        await self.web.start(host, port)
        log.info("http://%s:%d/v1/feeds/", host, self.web.port)
        stop = threading.Event()
        try:
            count = self._connection.offsets.partition_count
            partitions = await asyncio.to_thread(count, POSTS, stop)
            self._freshness = FeedFreshness(
                partitions, self.environment.instance, self.pool.view.names.own
            )
            self._logs = CombinerLogs(self._connection, self.pool.view, (), partitions)
            self._time.on_beat = self._heard
            while not self.stopping.is_set():
                next_at = time.monotonic() + _CYCLE_S
                self._cycle(self._logs)
                await asyncio.sleep(0)
                await self._queue.serve_until(next_at, self._waited)
        finally:
            stop.set()
            await self.web.stop()
            self._close()

    def _waited(self, seconds: float) -> None:
        self.metrics.observe("feedmill_reader_queue_seconds", seconds)

    def _close(self) -> None:
        self._time.close()
        self._settings.close()
        if self._logs is not None:
            self._logs.close()
        self._connection.close()

    # --- what HTTP asks -----------------------------------------------------------------------

    def page(self, feed: str, body: bytes) -> bytes:
        start = time.perf_counter()
        served = self.pool.served.feeds.get(feed)
        if served is None:
            raise NotServed(
                f"Expected a feed with a setting `readers/<feed>`, got {feed[:80]!r}; `feedmill"
                " config set` serves one"
            )
        request, now_ms = decode_request(body, served.bounds), self._time.clock.now_ms()
        if self._logs is not None and self.pool.is_restored:
            # Moderators wait for these: they are read more often than all else, where it is due.
            self._take(self._logs.read_overrides(_SLICE_RECORDS, _never), now_ms)
        page = page_of(self.pool, served, request, now_ms)
        is_judged = self._freshness.is_judged(page.decisions.gates, page.weights)
        answer = {**page.answer, "stale": bool(self._reason) or not is_judged}
        if request.offsets:
            answer["offsets"] = self._offsets()
        encoded = _encode(answer)
        self.metrics.observe("feedmill_reader_page_seconds", time.perf_counter() - start)
        return encoded

    def redis_key(self, feed: str) -> str:
        return f"{self.environment.redis_prefix}feed:{{{feed}}}"

    def closed_reason(self) -> str:
        return self._closed

    def ready_reason(self) -> str:
        return self._reason

    def metrics_text(self) -> str:
        self.metrics.set("feedmill_metrics_timestamp_seconds", time.time())
        return self.metrics.text()

    def _offsets(self) -> dict[str, dict[str, int]]:
        """Up to where each partition was read: the offset of the next record."""
        found: dict[str, dict[str, int]] = {
            "config": {"0": self.pool.served.settings.offset + 1},
        }
        if self._logs is not None:
            for at, offset in self._logs.positions().items():
                found.setdefault(at.topic, {})[str(at.partition)] = offset
        return found

    # --- one cycle ----------------------------------------------------------------------------

    def _cycle(self, logs: CombinerLogs) -> None:
        """Read what came, bring the pool up to date, and do a part of what is left."""
        self._settings.follow()
        self._time.follow(self._heartbeats)
        now_ms, pool, settings = self._time.clock.now_ms(), self.pool, self._settings.settings
        self._read(logs, now_ms)
        if pool.is_restored:
            if settings is not pool.newest:
                pool.apply(settings)
            pool.work(now_ms, _for(_WORK_S))
        elif logs.is_restored and self._time.clock.is_set and self._settings.log.all_restored():
            pool.restored(settings)
        if pool.serves_newest and pool.served.settings.offset != self._said_offset:
            self._said_offset = pool.served.settings.offset
            self._time.heartbeats.hurry()
        if self._lacking is not None:
            self._look_for_lacking()
        if time.monotonic() >= self._tick_at:
            self._tick_at = time.monotonic() + _TICK_S
            self._tick(logs, now_ms)

    def _read(self, logs: CombinerLogs, now_ms: int) -> None:
        """Read slices until nothing is left, or requests are to be answered again."""
        has_time = _for(_READ_S if self.pool.is_restored else 5 * _CYCLE_S)
        most = _SLICE_RECORDS if self.pool.is_restored else _RESTORED_RECORDS
        while self._take(logs.read(most, _never), now_ms) and has_time():
            pass

    def _take(self, read: tuple[int, list[RejectedRecord]], now_ms: int) -> int:
        """Bring the pool up to date with what was read; return how many records that were."""
        count, rejected = read
        for rejection in rejected:
            self.metrics.add("feedmill_rejected_total", topic=rejection.source.topic)
        if self.pool.is_restored:
            self.pool.follow(now_ms)
        else:
            self.pool.forget_changes()
        return count

    def _tick(self, logs: CombinerLogs, now_ms: int) -> None:
        pool = self.pool
        if pool.is_restored:
            pool.tick(now_ms)
            own = pool.view.names.own
            self._lacking = self._lacking or lacking(pool.view, own, now_ms - _LACKING_MS)
        self._ids.look()
        self._rights.look()
        if self._tokens is not None:
            self._tokens.look()
        self._look_whether_ready(logs)
        self._report(logs)

    def _look_for_lacking(self) -> None:
        try:
            next(self._lacking or iter(()))
        except StopIteration as found:
            self._lacking = None
            self._freshness.look(found.value or ())

    def _look_whether_ready(self, logs: CombinerLogs) -> None:
        if not self._is_open and self.pool.serves_newest:
            self._is_open = True
            # What was restored stays.
            settle_memory()
            threading.Thread(target=trim_heap, name="heap", daemon=True).start()
        deciding = "" if self.pool.serves_newest else "deciding all posts"
        to_read = logs.ready_reason()
        self._closed = self._ids.trouble or ("" if self._is_open else to_read or deciding)
        reasons = (
            self._rights.ready_reason(),
            self._closed,
            self._settings.ready_reason(),
            to_read,
            self._connection.health.reason(),
            deciding,
        )
        before, self._reason = self._reason, next(filter(None, reasons), "")
        if bool(before) != bool(self._reason):
            log.info("not ready: %s", self._reason) if self._reason else log.info("ready")
            self._time.heartbeats.hurry()

    def _report(self, logs: CombinerLogs) -> None:
        metrics = self.metrics
        metrics.set("feedmill_ready", float(not self._reason))
        metrics.set("feedmill_lag", logs.lag())
        metrics.set("feedmill_memory_bytes", (resident_mib() or 0) * 1024**2)
        metrics.set("feedmill_config_offset", self.pool.served.settings.offset)
        metrics.set("feedmill_reader_posts", len(self.pool.view))
        metrics.add_up_to("feedmill_refused_settings_total", self._settings.refused_count)
        metrics.add_up_to("feedmill_clock_refused_total", self._time.clock.refused)
        metrics.add_up_to("feedmill_signals_dropped_total", self.pool.view.early.dropped)
        for topic, count in self._connection.headers.take_passed().items():
            metrics.add("feedmill_passed_batches_total", count, topic=topic)
        if self._pipe is None:
            return
        if not write_status(self._pipe, Status(self._reason, self.metrics_text())):
            log.info("the supervisor is gone: stopping")
            self.stopping.set()

    # --- heartbeats ---------------------------------------------------------------------------

    def _heard(self, value: bytes | None, at_ms: int) -> None:
        if not value:
            return
        try:
            self._freshness.heartbeat(decode_instance(value), at_ms)
        except BadEvent:
            return

    def _heartbeats(self) -> Iterator[Instance]:
        lag = 0 if self._logs is None else self._logs.lag()
        yield Instance(
            stage=STAGE,
            instance=self.environment.instance,
            host=socket.gethostname(),
            pid=os.getpid(),
            build=_BUILD,
            config_offset=self.pool.served.settings.offset,
            refused=tuple(self._settings.refused),
            models={},
            ready=not self._reason,
            lag=lag,
            at_ms=self._time.clock.now_ms(),
            reason=self._reason[:REASON_CHARACTERS],
            memory_mib=resident_mib(),
            logs_lag=lag,
        )


class RecreatedTopics:
    """Notices that a topic which a reader follows was deleted, or deleted and created again."""

    def __init__(self, connection: Connection) -> None:
        self.trouble = ""
        self._offsets = connection.offsets
        names = connection.environment.signals.all
        self._topics = ("config", POSTS, OVERRIDES, *(SIGNALS + name for name in names))
        self._known: dict[str, str] | None = None
        self._asked: Future[dict[str, str]] | None = None
        self._look_at = 0.0

    def look(self) -> None:
        """Ask Kafka every few seconds; never waits."""
        if self._asked is None:
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + _IDS_EVERY_S
                self._asked = self._offsets.topic_ids(self._topics)
            return
        if not self._asked.done():
            return
        asked, self._asked = self._asked, None
        try:
            found = asked.result()
        except KafkaException:
            return
        self._known = known = self._known or dict(found)
        gone = [name for name in known if found.get(name) != known[name]]
        if gone:
            self.trouble = (
                f"{', '.join(f'`{name}`' for name in gone)} was deleted, or deleted and created"
                " again: start this reader again"
            )


def _for(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end


def _never() -> bool:
    return False
