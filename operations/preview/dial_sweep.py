"""What a feed's top would be with each dial at other values, from one view.

Gates, window and match do not depend on weights: the posts of the feed are found once, and each
setting scores them by the combiner's own formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.settings import Settings
from feedmill.events.weights import Weights
from feedmill.experiments.dials import Dial
from feedmill.rankers.combiner.one_feed import candidates_of, rank_feed
from feedmill.rankers.combiner.view import PostView
from feedmill.rankers.score import scores_of

TOP = 20
# The ends of a sweep, in doublings; between them arms are looked for in steps of a quarter.
FARTHEST, _STEP = 6, 0.25
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
    age_ms: int
    authors: int


@dataclass(frozen=True)
class Side:
    """An arm to try: a dial at the value where the overlap is nearest to `wanted`."""

    dial: Dial
    value: float
    overlap: float
    wanted: float


class SweptFeed:
    """One feed of a view, ready to be ranked under any weights.

    Attributes
    ----------
    now
        The posts of its top now, best first; fewer than `TOP` where the feed has fewer.
    """

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
        cap, shown, had = weights.max_per_author, [], dict[int, int]()
        for place in np.argsort(-scores, kind="stable").tolist():
            author = int(self._authors[place])
            if cap is None or had.get(author, 0) < cap:
                had[author] = had.get(author, 0) + 1
                shown.append(place)
                if len(shown) == self._most:
                    break
        return self._rows[np.array(shown, dtype=np.intp)]

    def swept(self, dial: Dial, doublings: float) -> SweptSetting | None:
        """Return the top with a dial so far from now; None beyond what its field may be."""
        value = dial.at(doublings) if doublings else dial.value
        weights = dial.weights(self._names, self.weights, value)
        return None if weights is None else self._setting(dial.name, doublings, value, weights)

    def _setting(self, dial: str, doublings: float, value: float, weights: Weights) -> SweptSetting:
        view, rows = self._view, self.top(weights)
        scored = (*view.names.objectives, *view.names.costs)
        means = {
            name: float(view.signals[name].value.values[rows].mean(dtype=float))
            for name in scored
            if name in view.written
        }
        return SweptSetting(
            *(dial, doublings, value, len(np.intersect1d(rows, self.now)) / len(self.now), means),
            int(np.median(self._now_ms - view.post.created_ms[rows])),
            len(np.unique(view.post.author[rows])),
        )

    def sweep(self, dials: Sequence[Dial]) -> list[SweptSetting]:
        """Return the top now, and at each doubling of each dial as far as both ends."""
        steps = [step for step in range(-FARTHEST, FARTHEST + 1) if step]
        found = [self.swept(dial, step) for dial in dials for step in steps]
        now = self._setting("", 0, 0.0, self.weights)
        return [now, *(one for one in found if one is not None)]

    def sides(self, dials: Sequence[Dial]) -> tuple[list[Side], list[str]]:
        """Return the arms to try on both sides of each dial, and the directions that do nothing.

        Of one dial alone there are two arms on each side.
        """
        wanted = (0.75, 0.5) if len(dials) == 1 else (0.5,)
        sides, inert = list[Side](), list[str]()
        for dial in dials:
            for sign, name in ((-1, "down"), (1, "up")):
                steps = np.arange(_STEP, FARTHEST + _STEP, _STEP).tolist()
                swept = [self.swept(dial, sign * step) for step in steps]
                there = [one for one in swept if one is not None]
                least = min((one.overlap for one in there), default=1.0)
                if least >= INERT:
                    inert.append(f"{dial.name} {name}: {least:.0%} of the top {TOP} stay")
                    continue
                for overlap in wanted:
                    best = min(there, key=lambda one: abs(one.overlap - overlap))
                    side = Side(dial, best.value, best.overlap, overlap)
                    if side.value not in {one.value for one in sides if one.dial is dial}:
                        sides.append(side)
        return sides, inert
