"""The step of a filter: its model's value, lowered, raised or overruled by others.

text model -> hide-rate guard lowers -> campaign raises -> rules and lists decide -> signals.<name>
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

import numpy as np

from feedmill.events.settings import Settings
from feedmill.events.signal import RuleVerdict, Signal
from feedmill.features.post_batch import PostBatch
from feedmill.filters import campaign
from feedmill.filters.filter_rules import FilterRules
from feedmill.filters.hide_rate_guard import CAPPED
from feedmill.filters.lists import ListSet
from feedmill.filters.rules import RuleMatch
from feedmill.filters.verdicts import BatchVerdicts
from feedmill.models.text_model import TextModel
from feedmill.streams.filters.filter_backfill import NEVER, FilterBackfill
from feedmill.streams.filters.filter_guard import FilterGuard
from feedmill.streams.filters.filter_history import FilterHistory
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import Record
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.scoring.scoring import score_posts
from feedmill.streams.scoring.text_models import TextModelStep
from feedmill.streams.worker.step import StepContext, WorkBatch, Writer


class FilterStep(TextModelStep):
    """A filter.

    Parameters
    ----------
    name, load
        As in `TextModelStep`.
    remembers
        Whether it looks for copies among what came before a post.
    """

    def __init__(self, name: str, load: Callable[[], TextModel], *, remembers: bool) -> None:
        super().__init__(name, load)
        self._remembers = remembers
        self._rules = FilterRules(name)
        self._changed_at = self._lists_at = NEVER
        self._history: FilterHistory | None = None

    def start(self, context: StepContext) -> None:
        super().start(context)
        connection = context.connection
        self._guard = FilterGuard(
            self.name,
            connection.environment.flagged_cap,
            context.partitions,
            context.metrics,
            self._score,
            partial(LogConsumer, connection),
        )
        self._guard.poisoned = context.poisoned
        self._guard.turn = context.window_turn
        if self._remembers:
            self._history = FilterHistory(
                context.partitions,
                context.clock,
                partial(LogConsumer, connection),
                context.poisoned,
            )

        self._backfill = FilterBackfill(
            self.name,
            connection.environment.signals,
            self._rules,
            self._verdict_of,
            context,
            partial(LogConsumer, connection),
        )

    def settings_changed(self, settings: Settings) -> None:
        self._rules.follow(settings)
        self._changed_at = settings.change_offsets.get(f"rules/{self.name}", NEVER)
        self._guard.settings_changed(settings)
        self._rules_changed()

    def swap_lists(self, lists: ListSet, version: int) -> None:
        """Go on with other lists between two cycles; `version` is that of their last record."""
        self._rules.follow_lists(lists)
        self._lists_at = version
        self._rules_changed()

    def _rules_changed(self) -> None:
        self._backfill.follow(self._changed_at, self._lists_at)
        self.rescoring.follow(self.model.version, self.rules_version())

    def rules_version(self) -> Sequence[int]:
        return self._changed_at, self._lists_at

    def revision(self) -> int:
        """Return the offset after the last change of the filter's rules; 0 before any."""
        return self._changed_at + 1

    def on_assigned(self, change: AssignmentChange) -> None:
        super().on_assigned(change)
        self._guard.assigned(change)
        self._backfill.assigned(change)
        if self._history is not None:
            self._history.assigned(change)

    def ready_for(self, partition: int) -> bool:
        known = self._history is None or self._history.is_ready(partition)
        return known and self._guard.is_ready(partition)

    def ready_reason(self) -> str:
        reason = self._guard.ready_reason()
        return reason or (self._history.ready_reason() if self._history is not None else "")

    def poll(self, writer: Writer) -> bool:
        if self._history is not None:
            self._history.read()
        return super().poll(writer) or bool(self._backfill.written)

    def apply(self, work: WorkBatch, writer: Writer) -> None:
        # Ahead of the cycle's own signals, which are newer.
        work.signals.extend(self._backfill.written)
        self._backfill.written = []
        super().apply(work, writer)

    def emit(self, work: WorkBatch, verdicts: BatchVerdicts, writer: Writer) -> None:
        super().emit(work, verdicts, writer)
        self._backfill.note_written(work)

    def background(self, writer: Writer, budget_s: float) -> bool:
        more = self._guard.read()
        if self._history is not None and self.context.is_live():
            more = self._history.fold_idle() or more
        if not self.context.lists_complete():
            # Without its lists it would take posts for ones that nothing has decided.
            return more
        # One after the other: each reads the signals that the other one writes.
        return self._backfill.work(writer, budget_s) or super().background(writer, budget_s) or more

    def decide(self, work: WorkBatch, verdicts: BatchVerdicts, writer: Writer) -> None:
        self._guard.lower(work, verdicts)
        if self._history is not None:
            pasts = self._history.pasts(work)
            if any(past.copies for past in pasts):
                values = campaign.campaign_probabilities(pasts)
                rows = range(len(work.posts))
                verdicts.raise_to(rows, values, lambda i: campaign.campaign_reason(pasts[i]))
        self._rule(work.records, work.posts, verdicts)

    def decide_again(
        self,
        records: Sequence[Record],
        posts: PostBatch,
        standing: Sequence[Signal | None],
        verdicts: BatchVerdicts,
    ) -> None:
        self._guard.lower_again(self.model.version, posts, verdicts)
        for row, signal in enumerate(standing):
            if signal is not None:
                _keep_campaign(verdicts, row, signal)
        self._rule(records, posts, verdicts)

    @property
    def capped_sources(self) -> Collection[str]:
        return self._guard.sources

    @property
    def scores_again(self) -> bool:
        return super().scores_again or self._backfill.is_under_way

    def close(self) -> None:
        super().close()
        self._guard.close()
        self._backfill.close()
        if self._history is not None:
            self._history.close()

    def _rule(self, records: Sequence[Record], posts: PostBatch, verdicts: BatchVerdicts) -> None:
        """Rules, then lists, beat the model, its failure, the guard and the campaign."""
        at_ms = [record.timestamp for record in records]
        for row, hit in enumerate(self._rules.verdicts(posts.posts, at_ms)):
            if hit is not None:
                verdicts.rules[row] = self._verdict_of(hit)

    def _verdict_of(self, hit: RuleMatch) -> RuleVerdict:
        self.context.metrics.add("feedmill_rule_hits_total", verdict=hit.verdict)
        return RuleVerdict(hit.rule, self._rules.value_of(hit))

    def _score(self, posts: PostBatch, partition: int) -> BatchVerdicts:
        return score_posts(self.model_at(partition), posts)


def _keep_campaign(verdicts: BatchVerdicts, row: int, signal: Signal) -> None:
    """Raise a value to that of the campaign which the signal of the post tells of."""
    stands = signal.overruled or signal
    if stands.value is None or stands.reason is None or stands.reason.startswith(CAPPED):
        return
    values, reason = np.array([stands.value]), stands.reason
    verdicts.raise_to(range(row, row + 1), values, lambda _: reason)
