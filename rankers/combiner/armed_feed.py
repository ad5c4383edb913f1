"""A feed under an experiment: its own list, and one of each arm, which change in one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from feedmill.events.feeds import FeedSpec
from feedmill.rankers.combiner.changes import FeedChange
from feedmill.rankers.combiner.columns import Rows
from feedmill.rankers.combiner.feed_ranking import FeedRanking
from feedmill.rankers.combiner.feed_scores import FeedScores


class ArmedFeed(FeedRanking):
    """A `FeedRanking`, the control, with the rankings of the other arms.

    An arm that is ranked by the very scores of the control, as a copy of it is, has the control's
    list.

    Parameters
    ----------
    name, spec, scores
        As of any feed.
    experiment
        What `:info` of the feed says of it.
    arms
        The scores of all arms but the control.
    """

    def __init__(
        self,
        name: str,
        spec: FeedSpec,
        scores: FeedScores,
        experiment: str,
        arms: Mapping[str, FeedScores],
    ) -> None:
        super().__init__(name, spec, scores)
        self.experiment = experiment
        self._arms = {
            arm: None if own is scores else FeedRanking(arm, spec, own) for arm, own in arms.items()
        }
        self._others = tuple(arm for arm in self._arms.values() if arm is not None)

    @property
    def all_scores(self) -> Sequence[FeedScores]:
        arms = self._arms.values()
        return (self.scores, *(self.scores if arm is None else arm.scores for arm in arms))

    @property
    def is_short(self) -> bool:
        return super().is_short or any(arm.is_short for arm in self._others)

    def update(self, rows: Rows, now_ms: int) -> bool:
        return self._in_arms(super().update(rows, now_ms), lambda arm: arm.update(rows, now_ms))

    def leave(self, rows: Rows) -> bool:
        return self._in_arms(super().leave(rows), lambda arm: arm.leave(rows))

    def drop_old(self, now_ms: int) -> bool:
        return self._in_arms(super().drop_old(now_ms), lambda arm: arm.drop_old(now_ms))

    def _in_arms(self, has_changed: bool, change: Callable[[FeedRanking], bool]) -> bool:
        """Change the other arms, too; whether any list changed."""
        for arm in self._others:
            has_changed |= change(arm)
        return has_changed

    def replace(self, before: FeedRanking) -> None:
        super().replace(before)
        if not self.whole and isinstance(before, ArmedFeed):
            for arm, earlier in zip(self._others, before._others, strict=True):
                arm.replace(earlier)

    @property
    def written_rows(self) -> Rows:
        rows = [super().written_rows, *(arm.written_rows for arm in self._others)]
        return np.unique(np.concatenate(rows))

    def change(self, config_offset: int) -> FeedChange | None:
        for arm in self._others:
            arm.whole |= self.whole
        own = super().change(config_offset)
        changed = {arm.name: arm.change(config_offset) for arm in self._others}
        if own is None and not any(changed.values()):
            return None
        lists = {
            arm.name: changed[arm.name] or arm.no_change(config_offset) for arm in self._others
        }
        return self._together(own or self.no_change(config_offset), lists)

    def renewal(self, config_offset: int) -> FeedChange | None:
        own = super().renewal(config_offset)
        if own is None:
            return None
        return self._together(own, {arm.name: arm.no_change(config_offset) for arm in self._others})

    def _together(self, own: FeedChange, others: Mapping[str, FeedChange]) -> FeedChange:
        """The change of the feed, with those of its arms in their order."""
        arms = [others.get(arm) or msgspec.structs.replace(own, feed=arm) for arm in self._arms]
        return msgspec.structs.replace(own, experiment=self.experiment, arms=arms)
