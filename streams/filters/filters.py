"""The step of a filter: its model's value, lowered, raised or overruled by others.

text model -> hide-rate guard lowers -> campaign raises -> rules and lists decide -> signals.<name>
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import msgspec
import numpy as np

from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import RuleVerdict, Signal
from feedmill.features.post_batch import PostBatch
from feedmill.filters.hide_rate_guard import (
    CAPPED,
    HideLimit,
    HideRates,
    JudgedPosts,
    OverLimit,
    hide_limit,
    sources_of_all,
)
from feedmill.filters.lists import FilterRules, ListSet
from feedmill.filters.raised_values import campaign_probabilities, campaign_reason
from feedmill.filters.rules import RuleMatch
from feedmill.models.text_model import TextModel
from feedmill.streams.filters.copy_history import CopyHistory
from feedmill.streams.filters.post_windows import PostWindows
from feedmill.streams.kafka.assignment import POSTS, AssignmentChange
from feedmill.streams.kafka.batches import FetchedRecord, Record
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.scoring.batch_scores import BatchScores, score_posts
from feedmill.streams.scoring.candidate_scoring import NOTE, Gate, PostsOfHour
from feedmill.streams.scoring.text_models import TextModelStep
from feedmill.streams.worker.step import StepContext, StepStatus, WorkBatch, Writer

log = logging.getLogger(__name__)

# An alarm ends below this part of the cap, so that it does not come and go with every post.
_OVER_BELOW = 0.8
_ABOVE_ALL = 2.0
_NO_LIMIT = HideLimit(_ABOVE_ALL, _ABOVE_ALL)

# The offset of a change of rules or lists before there was any.
_NEVER = -1


class FilterStep(TextModelStep):
    """A filter: `apply` is the pipeline above for new posts, `judge_again` for earlier posts.

    Parameters
    ----------
    remembers
        Whether it looks for copies among what came before a post.
    windows
        Shared with the other filters of the worker.
    """

    def __init__(
        self, name: str, load: Callable[[], TextModel], *, remembers: bool, windows: PostWindows
    ) -> None:
        super().__init__(name, load)
        self._windows = windows
        self._remembers = remembers
        self._rules = FilterRules(name)
        self._changed_at = self._lists_at = _NEVER
        self._history: CopyHistory | None = None
        self.hour = self._hour = PostsOfHour()
        # Owned partitions on which no candidate was compared when they came.
        self._uncompared: frozenset[int] = frozenset()
        # No post comes before the settings.
        self.gate = None

    def start(self, context: StepContext) -> None:
        super().start(context)
        connection = context.connection
        cap = connection.environment.flagged_cap
        self._guard = FilterGuard(self.name, cap, context.metrics)
        open_log = partial(LogConsumer, connection)
        self._windows.hand_to(self._fold, context, open_log)
        if self._remembers:
            self._history = CopyHistory(context, open_log)

    def settings_changed(self, settings: Settings) -> None:
        self._rules.set_settings(settings)
        self._changed_at = settings.change_offsets.get(f"rules/{self.name}", _NEVER)
        self.revision = self._changed_at + 1
        self._guard.settings_changed(settings)
        self.gate = Gate.of(settings, self.name)
        self.rescoring.set_versions(self.model.version, self.rules_version())

    def swap_lists(self, lists: ListSet, version: int) -> None:
        """Use other lists; `version` grows with every change.  Called between cycles."""
        self._rules.set_lists(lists)
        self._lists_at = version
        self.rescoring.set_versions(self.model.version, self.rules_version())

    def rules_version(self) -> str:
        """Return the last changes of the rules, in `config`, and of the lists, in `models`."""
        lists = f" {self._lists_at}" if self._lists_at != _NEVER else ""
        return f"{self._changed_at}{lists}"

    def on_assigned(self, change: AssignmentChange) -> None:
        super().on_assigned(change)
        self._windows.assigned(change)
        self._guard.assigned(change, self._windows.kept)
        self._hour.forget({*change.lost, *change.gained} - self._windows.kept)
        noted = {at.partition for at, texts in change.notes.items() if texts.get(NOTE + self.name)}
        self._uncompared = frozenset(change.owned) - noted
        if self._history is not None:
            self._history.assigned(change)

    def prepare(self, likely: AssignmentChange) -> None:
        self._guard.prepare(likely.gained)
        self._windows.prepare(likely)
        if self._history is not None:
            self._history.prepare(likely)

    def ready_for(self, partition: int, topic: str = POSTS) -> bool:
        known = self._history is None or self._history.is_ready(partition)
        return known and self._windows.is_ready(partition)

    def status(self) -> StepStatus:
        reason, may_join = self._windows.ready_reason(), self._windows.is_prepared
        if self._history is not None:
            reason = reason or self._history.ready_reason()
            may_join = may_join and self._history.is_prepared
        return (
            super()
            .status()
            ._replace(reason=reason, may_join=may_join, capped_sources=self._guard.sources)
        )

    def poll(self, writer: Writer) -> bool:
        if self._history is not None:
            self._history.read()
        return super().poll(writer)

    def background(self, writer: Writer, budget_s: float) -> bool:
        more = self._windows.work(budget_s)
        if self._history is not None and self.context.worker.is_live():
            more = self._history.fold_idle() or more
        if not self.context.worker.has_loaded_lists():
            # Without the lists, posts would look as if nothing had decided them.
            return more
        return super().background(writer, budget_s) or more

    def apply(self, work: WorkBatch, writer: Writer) -> None:
        scores = self.score(work, writer)
        if scores is None:
            return
        self._guard.lower(work, scores)
        if self._history is not None:
            pasts = self._history.pasts(work)
            if any(past.copies for past in pasts):
                values = campaign_probabilities(pasts)
                rows = range(len(work.posts))
                scores.raise_to(rows, values, lambda i: campaign_reason(pasts[i]))
        self._rule(work.records, work.posts, scores)
        self.emit(work, scores, writer)

    def judge_again(
        self,
        records: Sequence[Record],
        posts: Sequence[Post],
        standing: Sequence[Signal | None],
    ) -> list[Signal]:
        batch = PostBatch(posts)
        scores = self.score_again(records, batch)
        self._guard.lower_again(self.model.version, batch, scores)
        for row, signal in enumerate(standing):
            if signal is not None:
                _keep_campaign(scores, row, signal)
        self._rule(records, batch, scores)
        return self.signals_again(records, posts, scores)

    def rule_again(
        self,
        records: Sequence[Record],
        posts: Sequence[Post],
        standing: Sequence[Signal | None],
    ) -> Sequence[Signal]:
        # What guard and campaign said at the time of a post stands in its signal.
        now_ms = self.context.clock.now_ms()
        hits = self._rules.verdicts(posts, [record.timestamp for record in records])
        rows = [row for row, hit in enumerate(hits) if hit is not None and standing[row] is None]
        before = dict(enumerate(standing))
        if rows:
            of_model = [records[row] for row in rows], [posts[row] for row in rows]
            scores = self.score_again(of_model[0], PostBatch(of_model[1]))
            before |= zip(rows, self.signals_again(*of_model, scores), strict=True)
        changed = []
        for row, hit in enumerate(hits):
            old = before[row]
            if old is None:
                continue
            if hit is None:
                signal = old.without_rule(now_ms)
            else:
                signal = old.with_rule(self._verdict_of(hit), now_ms)
            if msgspec.structs.replace(signal, at_ms=old.at_ms) != old:
                changed.append(signal.with_revision(max(old.revision, self.revision)))
        return changed

    def close(self) -> None:
        super().close()
        self._windows.close()
        if self._history is not None:
            self._history.close()

    def _rule(self, records: Sequence[Record], posts: PostBatch, scores: BatchScores) -> None:
        """Let rules, then lists, overrule the model, its failure, the guard and the campaign."""
        at_ms = [record.timestamp for record in records]
        for row, hit in enumerate(self._rules.verdicts(posts.posts, at_ms)):
            if hit is not None:
                scores.rules[row] = self._verdict_of(hit)

    def _verdict_of(self, hit: RuleMatch) -> RuleVerdict:
        self.context.metrics.add("feedmill_rule_hits_total", verdict=hit.verdict)
        return RuleVerdict(hit.rule, self._rules.value_of(hit))

    def _fold(self, partition: int, records: Sequence[Record], posts: PostBatch) -> None:
        """Count the posts of a gained partition's window, which came before those that come."""
        scores = score_posts(self.model_at(partition), posts)
        self._guard.fold(partition, records, posts, scores)
        if self.candidate is not None or partition not in self._uncompared:
            for record, post in zip(records, posts.posts, strict=True):
                self._hour.take(partition, record, post, {})


def _keep_campaign(scores: BatchScores, row: int, signal: Signal) -> None:
    """Raise a value to that of the campaign of which the signal of the post tells."""
    stands = signal.overruled or signal
    if stands.value is None or stands.reason is None or stands.reason.startswith(CAPPED):
        return
    values, reason = np.array([stands.value]), stands.reason
    scores.raise_to(range(row, row + 1), values, lambda _: reason)


class FilterGuard:
    """The hide-rate guard: lowers values that would hide too much of a community, language or host.

    It knows the flagged shares of the partitions that the worker owns: `assigned` at a rebalance,
    `fold` for the posts of a gained partition's window, `lower` for every batch.

    Parameters
    ----------
    cap
        The share of a source's posts that may be flagged.

    Attributes
    ----------
    sources
        The sources of which too much is flagged.
    """

    def __init__(self, name: str, cap: float, metrics: Metrics) -> None:
        self._name = name
        self._cap = cap
        self._metrics = metrics
        self.sources: set[str] = set()
        self._limit: HideLimit | None = None
        self._rates: dict[int, HideRates] = {}
        self._again, self._again_by, self._again_count = HideRates(_ABOVE_ALL, cap), "", 0

    def settings_changed(self, settings: Settings) -> None:
        """Use the thresholds that are in force."""
        self._limit = hide_limit(settings, self._name)
        for rates in self._rates.values():
            rates.set_flagged_at(self._flagged_at)

    @property
    def _flagged_at(self) -> float:
        return _ABOVE_ALL if self._limit is None else self._limit.hide_at

    def prepare(self, partitions: Collection[int]) -> None:
        """Begin with partitions that may come."""
        for partition in partitions:
            if partition not in self._rates:
                self._rates[partition] = HideRates(self._flagged_at, self._cap)

    def assigned(self, change: AssignmentChange, kept: Collection[int] = ()) -> None:
        """Drop lost partitions, begin with those gained unless `prepare` began with them."""
        gone = {*change.lost, *self._rates.keys() - {*change.owned}, *change.gained} - {*kept}
        for partition in gone:
            self._rates.pop(partition, None)
        self.prepare(change.gained)
        self._report({})

    def fold(
        self, partition: int, records: Sequence[Record], posts: PostBatch, scores: BatchScores
    ) -> None:
        """Count earlier posts, as their model judges them, in the order of offsets."""
        rows = [row for row in range(len(posts)) if row not in scores.errors]
        scored = _scored([records[row] for row in rows], rows, posts, scores)
        self._rates[partition].fold(scored)

    def lower(self, work: WorkBatch, scores: BatchScores) -> None:
        """Count a cycle's posts, in the order of offsets, and lower values that must not hide."""
        over: dict[str, float] = {}
        lowered: dict[int, tuple[float, str]] = {}
        limit = self._limit or _NO_LIMIT
        for part in work.partitions:
            rates = self._rates.get(part.source.partition)
            if rates is None:
                continue
            rows = [*part.rows]
            if scores.errors:
                rows = [row for row in rows if row not in scores.errors]
            records = [work.records[row] for row in rows]
            for over_limit in rates.fold(_scored(records, rows, work.posts, scores)):
                if scores.values[rows[over_limit.row]] >= limit.hide_at:
                    over[over_limit.source] = over_limit.rate
                    if over_limit.is_spared:
                        lowered[rows[over_limit.row]] = _lowered(limit, over_limit)
        if lowered:
            scores.lower(lowered)
            self._metrics.add("feedmill_capped_total", len(lowered))
        if over or self.sources:
            self._report(over)

    def lower_again(self, version: str, posts: PostBatch, scores: BatchScores) -> None:
        """Lower what must not hide of n earlier posts that a version of the model scores again.

        They have rates of their own, in the order in which they come.
        """
        if self._again_by != version:
            self._again_by = version
            self._again, self._again_count = HideRates(self._flagged_at, self._cap), 0
        self._again.set_flagged_at(self._flagged_at)
        rows = [row for row in range(len(posts)) if row not in scores.errors]
        records = [FetchedRecord(self._again_count + row, 0, None, None) for row in rows]
        self._again_count += len(posts)
        limit = self._limit or _NO_LIMIT
        found = self._again.fold(_scored(records, rows, posts, scores))
        scores.lower(
            {
                rows[over_limit.row]: _lowered(limit, over_limit)
                for over_limit in found
                if over_limit.is_spared and scores.values[rows[over_limit.row]] >= limit.hide_at
            }
        )

    def _report(self, over: Mapping[str, float]) -> None:
        """Log which sources began and ended to be over the cap; their names, never a text."""
        for source in over.keys() - self.sources:
            self.sources.add(source)
            log.warning(
                "%s flags %.0f %% of %s, more than %.0f %%: it demotes there instead of hiding,"
                " but for an author", self._name, 100 * over[source], source, 100 * self._cap,
            )  # fmt: skip
        for source in tuple(self.sources):
            if not any(rates.is_over(source, _OVER_BELOW) for rates in self._rates.values()):
                self.sources.discard(source)
                log.warning("%s no longer flags too much of %s", self._name, source)
        self._metrics.set("feedmill_capped_sources", len(self.sources))


def _scored(
    records: Sequence[Record], rows: Sequence[int], posts: PostBatch, scores: BatchScores
) -> JudgedPosts:
    """Return the posts at these rows, which have these records, as their model judges them."""
    value = scores.values.item
    return JudgedPosts(
        [record.offset for record in records],
        [record.timestamp for record in records],
        [len(record.value or b"") for record in records],
        [value(row) for row in rows],
        posts.computed(sources_of_all),
        rows,
    )


def _lowered(limit: HideLimit, over: OverLimit) -> tuple[float, str]:
    return limit.lowered, f"{CAPPED}{over.source} has {over.rate:.0%} flagged"
