"""What a feed's top would be with each dial at other values, from one view.

Gates, window and match do not depend on weights: the posts of the feed are found once, and each
setting scores them by the combiner's own formula.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.settings import Settings
from feedmill.events.weights import Weights
from feedmill.experiments.dials import Dial
from feedmill.operations.preview.feed_preview import top_age_ms, top_means
from feedmill.rankers.combiner.feed_set import candidates_of, rank_feed
from feedmill.rankers.combiner.view import PostView
from feedmill.rankers.score import scores_of

TOP = 20
# The ends of a sweep, in doublings, and where arms are looked for between them.
FARTHEST = 6
_STEPS = (-0.75, -0.5, -0.25, 0.25, 0.5, 0.75)
# Of many posts only the best are put in order, unless authors have too many of them.
_ORDERED = 1_000
# A direction that leaves so much of the top at all values shows readers no other list.
INERT = 0.9

Rows = npt.NDArray[np.int32]


class SweptSetting(NamedTuple):
    """The top of a feed with a dial at a value, so many doublings from now."""

    dial: str
    doublings: float
    value: float
    overlap: float
    means: Mapping[str, float]
    age_ms: int | None
    authors: int


class Side(NamedTuple):
    """An arm to try: a dial at a value, and which part of the top stays there."""

    dial: Dial
    value: float
    overlap: float


class SweptFeed:
    """One feed of a view, ready to be ranked under any weights; `now` is its top as it is."""

    def __init__(self, view: PostView, settings: Settings, feed: str, now_ms: int) -> None:
        ranking = rank_feed(view, settings, feed, now_ms)
        rows = candidates_of(view, ranking, settings, now_ms)
        ids = view.ids.read_many(rows)
        # Equal scores rank by descending id, which a stable sort of the scores keeps.
        order = sorted(range(len(ids)), key=ids.__getitem__, reverse=True)
        self._view, self._now_ms, self._names = view, now_ms, settings.names
        self._rows: Rows = rows[np.array(order, dtype=np.intp)]
        self._created_ms = view.post.created_ms[self._rows]
        self._factors = ranking.scores.gates.factor.values[self._rows]
        self._authors = view.post.author[self._rows]
        self._values: dict[str, npt.NDArray[np.float32]] = {}
        self._most = min(TOP, ranking.spec.size)
        self.weights = ranking.scores.weights
        self.now = self.top(self.weights)

    def top(self, weights: Weights) -> Rows:
        """Return the posts of the top under these weights, best first."""
        for name in weights.signals:
            if name not in self._values:
                self._values[name] = self._view.signals[name].value.values[self._rows]
        scores = scores_of(weights, self._values, self._factors, self._created_ms)
        places = np.arange(len(scores))
        if len(scores) > _ORDERED:
            places = places[scores >= np.partition(scores, -_ORDERED)[-_ORDERED]]
        shown = self._first(places[np.argsort(-scores[places], kind="stable")], weights)
        if len(shown) < self._most and len(places) < len(scores):
            shown = self._first(np.argsort(-scores, kind="stable"), weights)
        return self._rows[shown]

    def _first(self, order: npt.NDArray[np.intp], weights: Weights) -> list[int]:
        """Return the first of these places that the author cap lets in."""
        cap, shown, had = weights.max_per_author or len(order), list[int](), Counter[int]()
        for place in order.tolist():
            author = int(self._authors[place])
            had[author] += 1
            if had[author] <= cap and len(shown) < self._most:
                shown.append(place)
        return shown

    def swept(self, dial: Dial, doublings: float) -> SweptSetting | None:
        """Return the top with a dial so far from now; None beyond what its field may be."""
        value = dial.at(doublings) if doublings else dial.value
        weights = dial.weights(self._names, self.weights, value)
        if weights is None:
            return None
        rows = self.top(weights)
        overlap = len(np.intersect1d(rows, self.now)) / len(self.now)
        seen = top_means(self._view, rows, self.weights), top_age_ms(self._view, rows, self._now_ms)
        authors = len(np.unique(self._view.post.author[rows]))
        return SweptSetting(dial.name, doublings, value, overlap, *seen, authors)

    def sweep(self, dials: Sequence[Dial]) -> list[SweptSetting]:
        """Return the top now, and at each doubling of each dial as far as both ends."""
        steps = [step for step in range(-FARTHEST, FARTHEST + 1) if step]
        found = [self.swept(dials[0], 0), *(self.swept(one, n) for one in dials for n in steps)]
        return [one for one in found if one is not None]

    def sides(
        self, dials: Sequence[Dial], found: Sequence[SweptSetting]
    ) -> tuple[list[Side], list[str]]:
        """Return the arms to try beside each dial, and the directions that do nothing.

        It looks on between the doublings that a sweep `found`.
        """
        wanted = (0.75, 0.5) if len(dials) == 1 else (0.5,)
        sides, inert = list[Side](), list[str]()
        for dial, (sign, name) in product(dials, ((-1, "down"), (1, "up"))):
            there = [one for one in found if one.dial == dial.name and one.doublings * sign > 0]
            least = min((one.overlap for one in there), default=1.0)
            if least >= INERT:
                inert.append(f"{dial.name} {name}: {least:.0%} of the top {TOP} stay")
                continue
            for overlap in wanted:
                best = min(there, key=lambda one: abs(one.overlap - overlap))
                near = [self.swept(dial, best.doublings + step) for step in _STEPS]
                there += [one for one in near if one and 0 < one.doublings * sign <= FARTHEST]
                best = min(there, key=lambda one: abs(one.overlap - overlap))
                if best.value not in {one.value for one in sides if one.dial is dial}:
                    sides.append(Side(dial, best.value, best.overlap))
        return sides, inert
