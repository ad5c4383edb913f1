"""The combiner's step: posts and signals become feeds; a thread of its own writes Redis."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from feedmill.events.instance import Instance
from feedmill.events.settings import Settings
from feedmill.rankers.combiner import Combiner
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.dead_letters import TOPIC as DEAD_LETTERS
from feedmill.streams.kafka.dead_letters import dead_letter
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.observe.legs import PendingArrivals
from feedmill.streams.redis.command_pipeline import open_writer_client
from feedmill.streams.redis.write_batch import WriteBatch, WriteReport
from feedmill.streams.redis.writer_thread import WriterThread
from feedmill.streams.settings.environment import Environment
from feedmill.streams.stages.combiner_logs import CombinerLogs
from feedmill.streams.stages.feed_freshness import FeedFreshness
from feedmill.streams.stages.ranking_claim import RANKING_PARTITION, RankingClaim
from feedmill.streams.stages.step import Step, StepContext, WorkBatch, Writer

log = logging.getLogger(__name__)

TICK_S = 1.0
RENEW_S = 5.0
RESTORE_RECORDS = 1_000
LIVE_RECORDS = 2_000
_STOP_WITHIN_S = 3.0


class RankingStep(Step):
    """Ranks what changed in each cycle; Redis gets it from a thread that never holds the loop.

    Every worker with this step keeps the whole view, and the owner of `posts[0]` writes Redis.

    Parameters
    ----------
    environment
        The process's settings.
    made_here
        The signals that other steps of this worker write: they come by `WorkBatch.signals`.
    """

    name = "combiner"

    def __init__(self, environment: Environment, made_here: Collection[str] = ()) -> None:
        super().__init__()
        self._environment = environment
        self._made_here = frozenset(made_here)
        self.combiner = Combiner(environment.signals)
        self._freshness = FeedFreshness()
        self._shown_offset = -1
        self._tick_at = self._renew_at = 0.0
        self._is_dirty = True
        self._feeds_refused = 0
        self._existing_feeds: set[str] = set()
        self._removed_feeds: set[str] = set()
        self._arrivals = PendingArrivals()

    def start(self, context: StepContext) -> None:
        super().start(context)
        environment = self._environment
        self._logs = CombinerLogs(
            context.connection,
            self.combiner.view,
            environment.signals,
            self._made_here,
            context.partitions,
        )
        self._claim = RankingClaim(context.connection)
        self._redis = WriterThread(open_writer_client(environment.redis), environment.redis_prefix)
        self._redis.start()

    def settings_changed(self, settings: Settings) -> None:
        self.combiner.apply(settings, self.context.clock.now_ms())
        self._is_dirty = True

    def applied_offset(self) -> int | None:
        # Where another worker ranks, it alone says what Redis shows.
        return self._shown_offset if self._claim.is_wanted else None

    def on_assigned(self, change: AssignmentChange) -> None:
        self._logs.assigned(change)
        self._claim.assigned(change)

    def ready_for(self, partition: int) -> bool:
        return self._logs.is_restored

    def heartbeat(self, instance: Instance, at_ms: int) -> None:
        if self._freshness.heartbeat(instance, at_ms):
            self._renew_at = 0.0

    def poll(self, writer: Writer) -> bool:
        restoring = not self._logs.is_restored
        count, rejected = self._logs.read(RESTORE_RECORDS if restoring else LIVE_RECORDS)
        if rejected:
            self._refuse(rejected, writer)
        if self._claim.follow(writer, is_restored=self._logs.is_restored):
            self._take_over()
        self._follow_report(self._redis.poll())
        return count > 0

    def apply(self, work: WorkBatch, writer: Writer) -> None:
        view = self.combiner.view
        self._arrivals.add(work.arrivals)
        for part in work.partitions:
            for record, event in part.events:
                view.update_post(event, record.offset, record.timestamp)
            self._freshness.read(part.events[-1][0].timestamp, work.now_ms)
        for name, post_id, signal in work.signals:
            if signal is None:
                view.clear_signal(name, post_id)
            else:
                view.update_signal(name, signal)
        self._is_dirty = True
        self._write()

    def background(self, writer: Writer, budget_s: float) -> bool:
        now = time.monotonic()
        if now >= self._tick_at:
            self._tick_at = now + TICK_S
            self.combiner.tick(self.context.clock.now_ms())
            self._is_dirty = True
            self._measure()
        if now >= self._renew_at and self._claim.token is not None:
            self._renew_at = now + RENEW_S
            self._renew()
        self._write()
        return self._is_dirty and self._claim.token is not None and self._redis.has_room

    def ready_reason(self) -> str:
        reason = self._logs.ready_reason() or self._claim.ready_reason()
        return reason or (self._redis.trouble if self._claim.is_wanted else "")

    def close(self) -> None:
        self._redis.stop(_STOP_WITHIN_S)
        self._logs.close()
        self._claim.close()

    # --- writing --------------------------------------------------------------------------

    def _take_over(self) -> None:
        """Write everything once, under the new token, and ask what else stands in Redis."""
        log.info("ranking, token %d", self._claim.token)
        self.combiner.rewrite_all()
        self._redis.request_feeds()
        self._is_dirty = True

    def _write(self) -> None:
        """Hand over what Redis does not show yet, if the writer takes more."""
        token = self._claim.token
        if token is None:
            self._arrivals.drop()
            return
        if not self._is_dirty or not self._redis.has_room:
            return
        start = time.perf_counter()
        now_ms = self.context.clock.now_ms()
        signals, feeds = self.combiner.cycle(now_ms)
        removed = self._removed_feeds.difference(self.combiner.feeds)
        retired = {change.feed for change in feeds if change.feed not in self.combiner.index.feeds}
        feeds = [change for change in feeds if change.feed not in retired]
        removed |= retired
        self._is_dirty = False
        self._removed_feeds = set()
        arrivals = self._arrivals.take()
        if not signals and not feeds and not removed:
            self._show(self.combiner.settings.offset)
            return
        fresh = {f.feed for f in feeds if self._freshness.is_fresh(f, now_ms)}
        batch = WriteBatch(
            now_ms, lambda _: token, signals, feeds, sorted(removed), fresh, arrivals
        )
        self._redis.submit(batch)
        self.context.metrics.observe("feedmill_cycle_seconds", time.perf_counter() - start)

    def _renew(self) -> None:
        token, now_ms = self._claim.token, self.context.clock.now_ms()
        renewals = self.combiner.renewals()
        if token is None or not renewals:
            return
        fresh = {f.feed for f in renewals if self._freshness.is_fresh(f, now_ms)}
        if not self._redis.submit(WriteBatch(now_ms, lambda _: token, (), renewals, (), fresh)):
            self._renew_at = 0.0

    def _follow_report(self, report: WriteReport) -> None:
        if not report:
            return
        for finished in report.finished:
            finished.measure()
            feeds = finished.batch.feeds
            if feeds and not finished.unwritten:
                self._show(max(change.config_offset for change in feeds))
        if report.flushed:
            log.info("Redis lost what was written: writing everything again")
            self.combiner.rewrite_all()
        self.combiner.rewrite(report.rewrite_feeds, report.rewrite_posts)
        if report.flushed or report.rewrite_feeds or report.rewrite_posts:
            self._is_dirty = True
        if report.existing_feeds is not None:
            self._removed_feeds |= set(report.existing_feeds).difference(self.combiner.feeds)
            self._is_dirty = True
        metrics = self.context.metrics
        for count in report.errors.values():
            metrics.add("feedmill_redis_errors_total", count)
        refused = len(report.refused_feeds) + len(report.refused_posts)
        if refused:
            metrics.add("feedmill_redis_refused_total", refused)

    def _show(self, offset: int) -> None:
        """Redis shows the settings up to this record of `config`."""
        if offset > self._shown_offset and not self._is_dirty:
            self._shown_offset = offset
            self.context.hurry()

    # --- the rest -------------------------------------------------------------------------

    def _refuse(self, rejected: list[RejectedRecord], writer: Writer) -> None:
        metrics = self.context.metrics
        for one in rejected:
            metrics.add("feedmill_rejected_total", topic=one.source.topic)
            # What a restore finds again was dead-lettered when it came.
            if one.source.topic == "posts" or self._claim.token is None:
                continue
            dead = dead_letter(one, self.name, self.context.clock.now_ms())
            metrics.add("feedmill_letters_total")
            writer.add(
                DEAD_LETTERS,
                dead.key,
                dead.value,
                owner=RANKING_PARTITION,
                partition=0,
                headers=dead.headers,
            )

    def _measure(self) -> None:
        metrics, combiner = self.context.metrics, self.combiner
        for decision, count in combiner.decisions(self.context.clock.now_ms()).items():
            metrics.set("feedmill_posts", count, decision=decision)
        metrics.set("feedmill_feeds", len(combiner.feeds))
        refused = combiner.index.refused
        metrics.add("feedmill_feeds_refused_total", refused - self._feeds_refused)
        self._feeds_refused = refused
