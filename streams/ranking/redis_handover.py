"""Hands what the combiner ranked to the Redis writer, and follows what became of it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from feedmill.events.partition import ALL_SHARDS, of_shards
from feedmill.rankers.combiner import Combiner
from feedmill.streams.observe.legs import PendingArrivals
from feedmill.streams.ranking.feed_freshness import FeedFreshness, FeedRenewals
from feedmill.streams.redis.pipelines import open_pipeline
from feedmill.streams.redis.write_batch import WriteBatch, WriteReport
from feedmill.streams.redis.writer_thread import WriterThread
from feedmill.streams.worker.step import StepContext

log = logging.getLogger(__name__)

_STOP_WITHIN_S = 3.0


class RedisHandover:
    """Submits batches while there is room, of each shard under the token of this worker's claim.

    It never waits.  What does not fit stays pending in the combiner: one change of each feed and
    post, however often it changes.

    Attributes
    ----------
    shown_offset
        The last record of `config` whose effect Redis shows.
    arrivals
        The records whose changes are not all submitted yet, for metrics.
    refused_writes
        How many writes of feeds and posts of this worker's shards Redis refused.
    newer_owners
        By shard the highest token under which Redis has what it refused.
    """

    def __init__(
        self,
        combiner: Combiner,
        freshness: FeedFreshness,
        context: StepContext,
    ) -> None:
        environment = context.connection.environment
        self.shown_offset = -1
        self.refused_writes = 0
        self.newer_owners: dict[int, int] = {}
        self.arrivals = PendingArrivals()
        self._combiner = combiner
        self._freshness = freshness
        self._context = context
        self._address = environment.redis_address
        self._tokens: Mapping[int, int] = {}
        self._has_caught_up = False
        self._renewals = FeedRenewals()
        self._not_fresh: set[str] = set()
        self._left_feeds: set[str] = set()  # named by Redis, perhaps of former owners
        # By batch on its way, the settings that Redis shows once the batch is written whole.
        self._submitted: deque[int] = deque()
        self._writer = WriterThread(open_pipeline(environment.redis), environment.redis_prefix)
        self._writer.own(frozenset(), ALL_SHARDS)
        self._writer.start()

    @property
    def trouble(self) -> str:
        """Why Redis takes no writes, or refuses some; "" while it takes all."""
        refusal = self._writer.refusal
        return self._writer.trouble or (f"Redis at {self._address}: {refusal}" if refusal else "")

    @property
    def has_work(self) -> bool:
        """Whether `write` would submit something now."""
        return self._may_write and self._combiner.has_changes

    @property
    def has_feeds(self) -> bool:
        """Whether feeds are still to be submitted to a Redis that takes writes."""
        is_waiting = bool(self._tokens) and self._combiner.has_feed_changes
        return is_waiting and not self._writer.trouble

    @property
    def stale_feeds(self) -> int:
        """How many feeds of this worker were not fresh when they were last renewed."""
        return len(self._not_fresh.intersection(self._combiner.feeds)) if self._tokens else 0

    @property
    def is_behind(self) -> bool:
        """Whether something is still to be submitted, now or when there is room."""
        is_complete = not (self._combiner.has_changes or self._left_feeds)
        return bool(self._tokens) and not is_complete

    def set_tokens(self, tokens: Mapping[int, int]) -> None:
        """Write the shards that have tokens from now on; other workers write the others.

        A shard that keeps its token goes on.  Of one that gets another everything is made and
        written anew, as of one that is new.
        """
        kept = {s for s, token in tokens.items() if self._tokens.get(s) == token}
        gained, lost = tokens.keys() - kept, self._tokens.keys() - kept
        if not (gained or lost):
            return
        self._tokens = dict(tokens)
        self._has_caught_up = self._has_caught_up and bool(kept)
        self._writer.own(frozenset(tokens), lost)
        if lost:
            self._combiner.own(frozenset(kept))
        if gained:
            log.info("ranking %d shards, %d of them new", len(tokens), len(gained))
            self._combiner.own(frozenset(tokens))
            self.shown_offset = -1

    def write(
        self, has_time: Callable[[], bool], *, caught_up: bool, only_whole: bool = False
    ) -> None:
        """Submit what Redis does not show yet, feeds first, as much as there is time for.

        `begin_writing` or `wait_written` has the writer's thread begin.  A new owner writes nothing
        before it has `caught_up`: all that it read is ranked.  `only_whole` leaves for the next
        call the feeds that are not replaced as a whole, and the posts that no such feed shows.
        """
        self._has_caught_up |= caught_up
        combiner = self._combiner
        if not self._tokens:
            self.arrivals.drop()
        if not self._may_write:
            return
        if not (combiner.has_changes or self._left_feeds):
            self._nothing_to_write(caught_up=caught_up)
            return
        start, now_ms = time.perf_counter(), self._context.clock.now_ms()
        signals, feeds, removed_feeds = combiner.take(now_ms, has_time, only_whole=only_whole)
        removed = set(removed_feeds)
        if self._left_feeds:
            removed |= self._take_left()
        is_all = caught_up and not combiner.has_changes
        if not (signals or feeds or removed):
            self._nothing_to_write(caught_up=is_all)
            return
        arrivals = self.arrivals.take() if is_all else ()
        fresh_lists, fresh = self._freshness.fresh_of(feeds)
        self._not_fresh -= fresh
        self._renewals.written(fresh, time.monotonic())
        batch = WriteBatch(
            now_ms,
            self._tokens,
            signals,
            feeds,
            sorted(removed),
            fresh_lists,
            arrivals,
            feeds_first=combiner.is_rewriting,
            ended=combiner.settings_in_force.ended,
        )
        self._writer.submit(batch)
        self._submitted.append(self._ranked_offset)
        self._context.metrics.observe("feedmill_cycle_seconds", time.perf_counter() - start)

    def begin_writing(self) -> None:
        """Have the writer's thread begin with what was submitted."""
        self._writer.begin()

    def wait_for_room(self, timeout_s: float) -> None:
        """Wait until `write` can submit a batch, or until the timeout."""
        if not self._writer.has_room:
            self.wait_written(timeout_s)

    def wait_written(self, timeout_s: float) -> None:
        """Sleep until the writer wrote what was submitted, or until the timeout."""
        if self._tokens and not self._writer.trouble:
            self._writer.wait_idle(timeout_s)

    def renew(self) -> bool:
        """Renew feeds not written for some seconds; return whether to look again at once."""
        now_ms, now_s = self._context.clock.now_ms(), time.monotonic()
        if not self._tokens:
            return False
        due = self._renewals.due(self._combiner.feeds, now_s)
        renewals = self._combiner.renewals(due)
        if renewals:
            fresh_lists, fresh = self._freshness.fresh_of(renewals)
            self._not_fresh = self._not_fresh.union(due) - fresh
            batch = WriteBatch(now_ms, self._tokens, (), renewals, (), fresh_lists)
            if not self._writer.submit(batch):
                return True
            self._submitted.append(-1)
        self._renewals.written(due, now_s)
        return self._renewals.is_hurried

    def renew_all(self) -> None:
        """Have every feed be renewed soon: more of them may count as fresh now."""
        self._renewals.hurry()

    def read_report(self) -> bool:
        """Read what the writer reports; return whether it is more than that all is written."""
        report = self._writer.poll()
        if report is None:
            return False
        for finished in report.finished:
            offset = self._submitted.popleft()
            finished.measure()
            if not finished.unwritten:
                self._show(offset)
        if report.flushed:
            log.info("Redis lost what was written: writing everything again")
            self._combiner.rewrite_all()
        if report.rewrite_feeds or report.rewrite_posts:
            self._combiner.rewrite(report.rewrite_feeds, report.rewrite_posts)
        if report.existing_feeds:
            self._left_feeds |= self._own(report.existing_feeds)
        self._count(report)
        return not report.is_plain

    def close(self) -> None:
        """Write what was submitted, for a few seconds at most, and disconnect."""
        self._writer.stop(_STOP_WITHIN_S)

    @property
    def _may_write(self) -> bool:
        return bool(self._tokens) and self._has_caught_up and self._writer.has_room

    @property
    def _ranked_offset(self) -> int:
        """The last `config` record by which all submitted feeds are ranked; -1: some not yet."""
        combiner = self._combiner
        return -1 if combiner.has_feed_changes else combiner.settings_in_force.offset

    def _own(self, names: Iterable[str]) -> set[str]:
        """Return those of these feeds, or posts, that this worker writes."""
        return set(of_shards(names, self._tokens))

    def _take_left(self) -> set[str]:
        """Return the feeds that Redis has and should not have."""
        combiner, left = self._combiner, self._own(self._left_feeds)
        if combiner.is_complete:
            gone, self._left_feeds = left.difference(combiner.feeds), set()
        else:
            # Whether posts are in the other feeds is not known yet.
            gone = {feed for feed in left if combiner.settings.feed_of(feed) is None}
            self._left_feeds = left - gone
        return gone

    def _nothing_to_write(self, *, caught_up: bool) -> None:
        """Count the batches on their way, if any, as all that Redis does not show."""
        if caught_up:
            self.arrivals.take()
        if self._submitted:
            self._submitted[-1] = self._ranked_offset
        else:
            self._show(self._ranked_offset)

    def _show(self, offset: int) -> None:
        before, self.shown_offset = self.shown_offset, max(self.shown_offset, offset)
        changed_at = self._combiner.settings.change_offsets.values()
        if any(before < at <= offset for at in changed_at):
            self._context.worker.hurry()

    def _count(self, report: WriteReport) -> None:
        metrics = self._context.metrics
        for count in report.errors.values():
            metrics.add("feedmill_redis_errors_total", count)
        for shard, token in report.newer_owners.items():
            self.newer_owners[shard] = max(self.newer_owners.get(shard, 0), token)
        refused = [*report.refused_feeds, *report.refused_posts]
        if refused:
            # Redis also refuses batches on their way when their shard was lost: nothing is wrong.
            self.refused_writes += len(self._own(refused))
            metrics.add("feedmill_redis_refused_total", len(refused))
