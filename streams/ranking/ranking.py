"""The combiner's step: posts and signals become feeds; a thread of its own writes Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator

from feedmill.events.instance import Instance
from feedmill.events.partition import ALL_SHARDS
from feedmill.events.settings import Settings
from feedmill.rankers.combiner import Combiner
from feedmill.rankers.combiner.combiner import lacking
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.assignment import POSTS, AssignmentChange
from feedmill.streams.ranking.combiner_logs import CombinerLogs, RankingLetters
from feedmill.streams.ranking.feed_freshness import LOOK_EVERY_S, FeedFreshness
from feedmill.streams.ranking.redis_handover import RedisHandover
from feedmill.streams.ranking.shard_claims import FIRST_SHARD, ShardClaims
from feedmill.streams.worker.step import Step, StepContext, StepStatus, WorkBatch, Writer

TICK_S = 1.0
# How long a program that is no worker may take for the signal of a post.
_LACKING_MS = 5_000
# At a start the other steps wait at most so long for the feeds: Redis may be slow.
FEEDS_FIRST_S = 10.0
RESTORE_RECORDS = 4_000
LIVE_RECORDS = 2_000
# Budgets of the thread's processor time: reading logs, ranking, making changes of what was ranked.
# By the clock each would do little at a time where other processes have the processor.
_READ_S = 0.007
_FAR_BEYOND = 1.5
WORK_S = 0.008
_CHANGES_S = 0.005
# What is left for changes where ranking took all of a budget.
_LEAST_CHANGES_S = 0.002
# After a change of settings, or after ranking this many posts, the loop sleeps up to `_LEAVE_S` so
# that the writer's thread can run; without the sleep both contend for the interpreter lock.
_LEAVE_S = 0.010
_LEAVE_FROM_POSTS = 5
# What a post of a large batch adds to the budget of ranking: posts that are not ranked pile up.
_POST_S = 25e-6
# What a post that changed adds to the budget of changes, unless all posts are rewritten.
_POST_CHANGES_S = 100e-6


class RankingStep(Step):
    """Ranks what changed in each cycle; Redis gets it from a thread that never holds the loop.

    Every worker with this step keeps the whole view, and ranks and writes its own shards.  What
    concerns many posts (a start, new settings, a flush of Redis) is done in slices.  `made_here`
    are the signals that other steps of this worker write: they come by `WorkBatch.signals`.

    `apply` and `background` rank and submit changes to the writer's thread; the thread begins to
    write them in the next `poll`, when the loop is about to wait for input, or in `wait_written`.
    """

    name = "combiner"
    ranks = True

    def __init__(self, environment: Environment, made_here: Collection[str] = ()) -> None:
        super().__init__()
        self.made_here = frozenset(made_here)
        self.combiner = Combiner(environment.signals, shards=frozenset())
        self._has_ranked = False
        # The worker does not read posts yet: at its first claim, feeds go before all restores.
        self._is_starting = True
        self._feeds_first_until = 0.0
        self._has_worked = self._has_more = False  # in this cycle; after the last work
        # Nothing came since all was ranked and handed over: `_work` would do nothing.
        self._is_settled = False
        self._tick_at = self._renew_at = 0.0
        self._lacking: Generator[None, None, Collection[str]] | None = None
        self._feeds_refused = 0
        self._signals_dropped = self._late_posts = 0

    def start(self, context: StepContext) -> None:
        super().start(context)
        self._logs = CombinerLogs(
            context.connection, self.combiner.view, self.made_here, context.partitions
        )
        self._freshness = FeedFreshness(
            context.partitions,
            context.connection.environment.instance,
            self.combiner.view.names.own,
        )
        self._claim = ShardClaims(context.connection)
        self._letters = RankingLetters(self.name, context)
        self._handover = RedisHandover(self.combiner, self._freshness, context)
        self.combiner.is_restoring = True

    def settings_changed(self, settings: Settings) -> None:
        self._rank_by(settings)

    def on_assigned(self, change: AssignmentChange) -> None:
        self._logs.assigned(change, self.context.worker.written())
        self._claim.assigned(change)
        self._letters.assigned(change)
        self._handover.set_tokens(self._claim.tokens)
        # A worker that joins others takes over feeds that they wrote until now.
        joins = self._has_ranked and 0 < len(change.shards) < len(ALL_SHARDS)
        self._is_starting = self._is_starting and not joins
        self._is_settled = False

    def ready_for(self, partition: int, topic: str = POSTS) -> bool:
        # Behind others, as after a pause, it waits with ranking as their successor alone.
        return self._logs.was_restored and not self.is_urgent

    @property
    def is_urgent(self) -> bool:
        if self._is_starting and time.monotonic() < self._feeds_first_until:
            return not self._claim.is_whole or self._handover.has_feeds
        return not self._has_ranked

    @property
    def is_idle(self) -> bool:
        return self._is_settled

    def status(self) -> StepStatus:
        ranks = self._claim.is_wanted
        reason = self._logs.ready_reason() or self._claim.ready_reason()
        return StepStatus(
            reason or (self._handover.trouble if ranks else ""),
            may_join=self._logs.was_restored and self._has_ranked,
            # The newest setting shown in this worker's own shards; None if it has no shard.
            applied_offset=self._handover.shown_offset if ranks else None,
            refused_writes=self._handover.refused_writes,
            shards=self._claim.tokens,
            logs_lag=self._logs.lag(),
        )

    def heartbeat(self, instance: Instance, at_ms: int) -> None:
        self._freshness.heartbeat(instance, at_ms)

    def poll(self, writer: Writer) -> bool:
        restoring = not self._logs.was_restored
        # The loop is about to wait for input; before, loop and thread would share the interpreter.
        self._handover.begin_writing()
        if self._logs.is_restored:
            self._read_overrides(writer)
        most = RESTORE_RECORDS if restoring else LIVE_RECORDS
        count, rejected = self._logs.read(most, _for_slices(_READ_S))
        self._handover.arrivals.add(self.context.worker.signals_fetched(self._logs.signals_read))
        if self.combiner.hold_back(self._logs.is_catching_up):
            self._is_settled = False
        if rejected:
            self._letters.reject(rejected, writer)
        is_second = self.context.worker.is_second(self.name)
        if is_second and self._claim.tokens:
            # When this worker claimed shards, it had not heard of the first worker yet.
            self._claim.give_up()
            self._handover.set_tokens(self._claim.tokens)
        may_claim = not self._claim.is_whole and self._logs.is_restored and is_second is False
        may_claim = may_claim and self.context.worker.has_read_settings()
        if self._claim.claim(writer, is_restored=may_claim) and self._claim.is_whole:
            self._handover.set_tokens(self._claim.tokens)
            self._feeds_first_until = time.monotonic() + FEEDS_FIRST_S
            if FIRST_SHARD.partition in self._claim.tokens:
                self._letters.claimed(writer)
            self._is_settled = False
        if self._handover.read_report() or count:
            self._is_settled = False
        if self._claim.outdone(self._handover.newer_owners):
            self._handover.set_tokens(self._claim.tokens)
        return count > 0

    def apply(self, work: WorkBatch, writer: Writer) -> None:
        view = self.combiner.view
        self._is_starting = self._is_starting and not (work.partitions or work.engagements)
        # Overrides that came while the models worked need not wait for the next cycle.
        self._read_overrides(writer)
        self._handover.arrivals.add(work.arrivals)
        # All partitions together: a post is in one partition alone.
        events = [event for part in work.partitions for event in part.events]
        view.update_posts(
            [event for _, event in events],
            [record.offset for record, _ in events],
            [record.timestamp for record, _ in events],
        )
        for part in work.partitions:
            self._logs.judged(part.source.partition, part.events[-1][0].offset + 1)
        view.update_written(work.signals)
        # Posts that came by the log are ranked like those that this worker judged.
        counts = view.changed.first_count, len(view.changed)
        deciding, changed = (min(count, LIVE_RECORDS) for count in counts)
        self._has_more = self._work(WORK_S + deciding * _POST_S, changed)
        if deciding >= _LEAVE_FROM_POSTS:
            self._handover.wait_written(_LEAVE_S)
        self._has_worked = True

    def background(self, writer: Writer, budget_s: float) -> bool:
        now = time.monotonic()
        if now >= self._tick_at:
            self._tick_at = now + TICK_S
            now_ms, view = self.context.clock.now_ms(), self.combiner.view
            self.combiner.tick(now_ms)
            self._lacking = self._lacking or lacking(view, view.names.own, now_ms - _LACKING_MS)
            self._measure()
            self._is_settled = False
        self._look_whether_fresh()
        if now >= self._renew_at and self._claim.tokens:
            self._renew_at = 0.0 if self._handover.renew() else now + LOOK_EVERY_S
        has_worked, self._has_worked = self._has_worked, False
        if self._is_settled:
            return False
        if not has_worked:
            self._has_more = self._work(min(budget_s, WORK_S))
        return self._has_more or self._handover.has_work

    def close(self) -> None:
        self._handover.close()
        self._logs.close()
        self._claim.close()

    def _read_overrides(self, writer: Writer) -> None:
        """Rank overrides and have them written, before anything else is ranked."""
        count, rejected = self._logs.read_overrides(LIVE_RECORDS, _for_slices(_READ_S))
        if rejected:
            self._letters.reject(rejected, writer)
        if not count or self.combiner.is_restoring:
            return
        self._is_settled = False
        self.combiner.rank_deciding(self.context.clock.now_ms(), _for(WORK_S))
        self._handover.wait_for_room(_LEAVE_S)
        self._hand_over(_CHANGES_S, caught_up=False)
        self._handover.wait_written(_LEAVE_S)

    def _work(self, budget_s: float, changed: int = 0) -> bool:
        """Rank, and hand over what there is; return whether there is more to rank.

        `changed` is how many posts may have changed in this cycle.
        """
        end = time.thread_time() + budget_s
        more = self._rank(budget_s)
        newest = None if more else self.context.worker.newest_settings()
        if newest is not None and self._rank_by(newest):
            more = self._has_more
        left_s = min(max(end - time.thread_time(), _LEAST_CHANGES_S), _CHANGES_S)
        if not self.combiner.is_rewriting:
            left_s = max(left_s, changed * _POST_CHANGES_S)
        self._hand_over(left_s, caught_up=not more)
        return more

    def _rank_by(self, settings: Settings) -> bool:
        """Rank by settings and have that written before all else; return whether they are new."""
        if settings is self.combiner.settings:
            return False
        is_change = not settings.says_as(self.combiner.settings)
        self.combiner.apply(settings)
        if not is_change:
            self._is_settled = False
            return False
        self._is_settled, self._has_more = False, self._rank(WORK_S)
        if not self._has_more:
            self._handover.wait_for_room(_LEAVE_S)
            self._hand_over(_CHANGES_S, caught_up=True, only_whole=True)
            self._handover.wait_written(_LEAVE_S)
        return True

    def _rank(self, budget_s: float) -> bool:
        now_ms, has_time = self.context.clock.now_ms(), _for(budget_s)
        combiner, is_restored = self.combiner, self._logs.is_restored
        # Records that were read last belong to the restore, too.
        if combiner.is_restoring and is_restored and not combiner.view.has_changes:
            combiner.is_restoring = False
        if combiner.is_restoring:
            return combiner.rank_changes(now_ms, has_time) or is_restored
        return combiner.work(now_ms, has_time)

    def _hand_over(self, budget_s: float, *, caught_up: bool, only_whole: bool = False) -> None:
        """Hand over what Redis does not show; `caught_up` says that all that was read is ranked."""
        combiner = self.combiner
        caught_up = caught_up and self._logs.is_restored
        if caught_up and not self._has_ranked:
            self._has_ranked = True
            self._feeds_first_until = time.monotonic() + FEEDS_FIRST_S
        self._handover.write(_for(budget_s), caught_up=caught_up, only_whole=only_whole)
        is_busy = combiner.is_restoring or combiner.is_pruning or self._handover.is_behind
        self._is_settled = caught_up and not is_busy

    def _look_whether_fresh(self) -> None:
        """Look at some more posts for missing signals; after the last, renew what is fresh."""
        if self._lacking is None:
            return
        try:
            next(self._lacking)
        except StopIteration as found:
            self._lacking = None
            if self._freshness.look(found.value):
                self._handover.renew_all()

    # --- the rest -------------------------------------------------------------------------

    def _measure(self) -> None:
        metrics, combiner = self.context.metrics, self.combiner
        for decision, count in combiner.decisions().items():
            metrics.set("feedmill_posts", count, decision=decision)
        metrics.set("feedmill_feeds", len(combiner.feeds))
        metrics.set("feedmill_stale_feeds", self._handover.stale_feeds)
        for pattern, waiting in combiner.places.waiting.items():
            metrics.set("feedmill_feeds_waiting", waiting, pattern=pattern)
        refused = combiner.places.refused
        metrics.add("feedmill_feeds_refused_total", refused - self._feeds_refused)
        self._feeds_refused = refused
        dropped = combiner.view.early.dropped
        metrics.add("feedmill_signals_dropped_total", dropped - self._signals_dropped)
        self._signals_dropped = dropped
        late = combiner.view.post.late
        metrics.add("feedmill_late_posts_total", late - self._late_posts)
        self._late_posts = late


def _for(seconds: float) -> Callable[[], bool]:
    """Return what says whether this thread used less processor time than that since the call.

    The clock is asked first: it takes a twentieth of the time, and no thread used more than it
    says.
    """
    end, clock_end = time.thread_time() + seconds, time.monotonic() + seconds
    return lambda: time.monotonic() < clock_end or time.thread_time() < end


def _for_slices(seconds: float) -> Callable[[], bool]:
    """Like `_for`, asked after each slice; False where one more slice would end too late."""
    start = last = time.thread_time()

    def has_time() -> bool:
        nonlocal last
        now = time.thread_time()
        slice_s, last = now - last, now
        return now < start + seconds and now + slice_s < start + _FAR_BEYOND * seconds

    return has_time
