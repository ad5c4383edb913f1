"""The step of a filter: its model's value, lowered, raised or overruled by others.

text model -> hide-rate guard lowers -> campaign raises -> rules and lists decide -> signals.<name>
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import numpy as np

from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import RuleVerdict, Signal
from feedmill.features.post_batch import PostBatch
from feedmill.filters.filter_rules import FilterRules
from feedmill.filters.hide_rate_guard import CAPPED
from feedmill.filters.lists import ListSet
from feedmill.filters.raised_values import campaign_probabilities, campaign_reason
from feedmill.filters.rules import RuleMatch
from feedmill.filters.verdicts import BatchVerdicts
from feedmill.models.text_model import TextModel
from feedmill.streams.environment import memory_shares
from feedmill.streams.filters.filter_guard import FilterGuard
from feedmill.streams.filters.filter_history import FilterHistory
from feedmill.streams.filters.post_windows import PostWindows
from feedmill.streams.kafka.assignment import POSTS, AssignmentChange
from feedmill.streams.kafka.batches import Record
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.scoring.text_models import TextModelStep, score_posts
from feedmill.streams.worker.step import StepContext, StepStatus, WorkBatch, Writer

# As the offset of a change of rules or lists: before any.
_NEVER = -1


class FilterStep(TextModelStep):
    """A filter.

    Parameters
    ----------
    name, load
        As in `TextModelStep`.
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
        self._history: FilterHistory | None = None

    def start(self, context: StepContext) -> None:
        super().start(context)
        connection = context.connection
        cap = connection.environment.flagged_cap
        self._guard = FilterGuard(self.name, cap, context.metrics)
        waiting = memory_shares(connection.environment).waiting_posts
        open_windows = partial(LogConsumer, connection, waiting=waiting)
        self._windows.follow(self._fold, context, open_windows)
        if self._remembers:
            self._history = FilterHistory(context, partial(LogConsumer, connection))

    def settings_changed(self, settings: Settings) -> None:
        self._rules.follow(settings)
        self._changed_at = settings.change_offsets.get(f"rules/{self.name}", _NEVER)
        self.revision = self._changed_at + 1
        self._guard.settings_changed(settings)
        self.rescoring.follow(self.model.version, self.rules_version())

    def swap_lists(self, lists: ListSet, version: int) -> None:
        """Go on with other lists; `version` grows with every change.  Called between cycles."""
        self._rules.follow_lists(lists)
        self._lists_at = version
        self.rescoring.follow(self.model.version, self.rules_version())

    def rules_version(self) -> str:
        """Return the last changes of the rules, in `config`, and of the lists, in `models`."""
        lists = f" {self._lists_at}" if self._lists_at != _NEVER else ""
        return f"{self._changed_at}{lists}"

    def on_assigned(self, change: AssignmentChange) -> None:
        super().on_assigned(change)
        self._windows.assigned(change)
        self._guard.assigned(change, self._windows.kept)
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
            # Without its lists it would take posts for ones that nothing has decided.
            return more
        return super().background(writer, budget_s) or more

    def decide(self, work: WorkBatch, verdicts: BatchVerdicts, writer: Writer) -> None:
        self._guard.lower(work, verdicts)
        if self._history is not None:
            pasts = self._history.pasts(work)
            if any(past.copies for past in pasts):
                values = campaign_probabilities(pasts)
                rows = range(len(work.posts))
                verdicts.raise_to(rows, values, lambda i: campaign_reason(pasts[i]))
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

    def rule_again(
        self,
        records: Sequence[Record],
        posts: Sequence[Post],
        standing: Sequence[Signal | None],
    ) -> Sequence[Signal]:
        # What guard and campaign said at the time of a post stands in its signal.
        now_ms = self.context.clock.now_ms()
        hits = self._rules.in_force.verdicts(posts, [record.timestamp for record in records])
        rows = [row for row, hit in enumerate(hits) if hit is not None and standing[row] is None]
        before = dict(enumerate(standing))
        if rows:
            of_model = [records[row] for row in rows], [posts[row] for row in rows]
            before |= zip(rows, self.judge_again(*of_model, None), strict=True)
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

    def _rule(self, records: Sequence[Record], posts: PostBatch, verdicts: BatchVerdicts) -> None:
        """Rules, then lists, beat the model, its failure, the guard and the campaign."""
        at_ms = [record.timestamp for record in records]
        for row, hit in enumerate(self._rules.in_force.verdicts(posts.posts, at_ms)):
            if hit is not None:
                verdicts.rules[row] = self._verdict_of(hit)

    def _verdict_of(self, hit: RuleMatch) -> RuleVerdict:
        self.context.metrics.add("feedmill_rule_hits_total", verdict=hit.verdict)
        return RuleVerdict(hit.rule, self._rules.value_of(hit))

    def _fold(self, partition: int, records: Sequence[Record], posts: PostBatch) -> None:
        """Take posts of the window before those that come."""
        verdicts = score_posts(self.model_at(partition), posts)
        self._guard.fold(partition, records, posts, verdicts)


def _keep_campaign(verdicts: BatchVerdicts, row: int, signal: Signal) -> None:
    """Raise a value to that of the campaign which the signal of the post tells of."""
    stands = signal.overruled or signal
    if stands.value is None or stands.reason is None or stands.reason.startswith(CAPPED):
        return
    values, reason = np.array([stands.value]), stands.reason
    verdicts.raise_to(range(row, row + 1), values, lambda _: reason)
