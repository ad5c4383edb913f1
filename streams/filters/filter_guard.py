"""The hide-rate guard of one filter: the flagged shares of the partitions a worker owns.

The posts of a gained partition's window are scored again before those that come: `PostWindows`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from feedmill.events.settings import Settings
from feedmill.features.post_batch import PostBatch
from feedmill.filters.hide_rate_guard import (
    CAPPED,
    HideLimit,
    HideRates,
    OverLimit,
    ScoredPosts,
    hide_limit,
    sources_of_all,
)
from feedmill.filters.verdicts import BatchVerdicts
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import FetchedRecord, Record
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.worker.step import WorkBatch

log = logging.getLogger(__name__)

# An alarm ends below this part of the cap, so that it does not come and go with every post.
_OVER_BELOW = 0.8
_NEVER = 2.0
_NO_LIMIT = HideLimit(_NEVER, _NEVER)


class FilterGuard:
    """Lowers values that would hide too much of a community, a language or a host.

    `assigned` at a rebalance, `fold` for the posts before, `lower` for every batch.

    Parameters
    ----------
    name
        The filter.
    cap
        The share of a source's posts that may be flagged.

    Attributes
    ----------
    sources
        Those of which too much is flagged.
    """

    def __init__(self, name: str, cap: float, metrics: Metrics) -> None:
        self._name = name
        self._cap = cap
        self._metrics = metrics
        self.sources: set[str] = set()
        self._limit: HideLimit | None = None
        self._rates: dict[int, HideRates] = {}
        self._again, self._again_by, self._again_count = HideRates(_NEVER, cap), "", 0

    def settings_changed(self, settings: Settings) -> None:
        """Follow the thresholds that are in force."""
        self._limit = hide_limit(settings, self._name)
        for rates in self._rates.values():
            rates.set_flagged_at(self._flagged_at)

    @property
    def _flagged_at(self) -> float:
        return _NEVER if self._limit is None else self._limit.hide_at

    def prepare(self, partitions: Collection[int]) -> None:
        """Begin with partitions that may come."""
        for partition in partitions:
            if partition not in self._rates:
                self._rates[partition] = HideRates(self._flagged_at, self._cap)

    def assigned(self, change: AssignmentChange, kept: Collection[int] = ()) -> None:
        """Drop what was lost, begin with what was gained, but for those that `prepare` began."""
        gone = {*change.lost, *self._rates.keys() - {*change.owned}, *change.gained} - {*kept}
        for partition in gone:
            self._rates.pop(partition, None)
        self.prepare(change.gained)
        self._report({})

    def fold(
        self, partition: int, records: Sequence[Record], posts: PostBatch, verdicts: BatchVerdicts
    ) -> None:
        """Fold posts in that came before, as their model judges them; in the order of offsets."""
        rows = [row for row in range(len(posts)) if row not in verdicts.errors]
        scored = _scored([records[row] for row in rows], rows, posts, verdicts)
        self._rates[partition].fold(scored)

    def lower(self, work: WorkBatch, verdicts: BatchVerdicts) -> None:
        """Fold a cycle's posts, in the order of offsets; lower what must not hide."""
        over: dict[str, float] = {}
        lowered: dict[int, tuple[float, str]] = {}
        limit = self._limit or _NO_LIMIT
        for part in work.partitions:
            rates = self._rates.get(part.source.partition)
            if rates is None:
                continue
            rows = [*part.rows]
            if verdicts.errors:
                rows = [row for row in rows if row not in verdicts.errors]
            records = [work.records[row] for row in rows]
            for one in rates.fold(_scored(records, rows, work.posts, verdicts)):
                if verdicts.values[rows[one.row]] >= limit.hide_at:
                    over[one.source] = one.rate
                    if one.is_spared:
                        lowered[rows[one.row]] = _lowered(limit, one)
        if lowered:
            verdicts.lower(lowered)
            self._metrics.add("feedmill_capped_total", len(lowered))
        if over or self.sources:
            self._report(over)

    def lower_again(self, version: str, posts: PostBatch, verdicts: BatchVerdicts) -> None:
        """Lower what must not hide of n earlier posts that a version of the model scores again.

        They have rates of their own, in the order in which they come.
        """
        if self._again_by != version:
            self._again_by = version
            self._again, self._again_count = HideRates(self._flagged_at, self._cap), 0
        self._again.set_flagged_at(self._flagged_at)
        rows = [row for row in range(len(posts)) if row not in verdicts.errors]
        records = [FetchedRecord(self._again_count + row, 0, None, None) for row in rows]
        self._again_count += len(posts)
        limit = self._limit or _NO_LIMIT
        found = self._again.fold(_scored(records, rows, posts, verdicts))
        verdicts.lower(
            {
                rows[one.row]: _lowered(limit, one)
                for one in found
                if one.is_spared and verdicts.values[rows[one.row]] >= limit.hide_at
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
    records: Sequence[Record], rows: Sequence[int], posts: PostBatch, verdicts: BatchVerdicts
) -> ScoredPosts:
    """Return the posts at these rows, which have these records, as their model judges them."""
    value = verdicts.values.item
    return ScoredPosts(
        [record.offset for record in records],
        [record.timestamp for record in records],
        [len(record.value or b"") for record in records],
        [value(row) for row in rows],
        posts.computed(sources_of_all),
        rows,
    )


def _lowered(limit: HideLimit, over: OverLimit) -> tuple[float, str]:
    return limit.lowered, f"{CAPPED}{over.source} has {over.rate:.0%} flagged"
