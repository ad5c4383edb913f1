"""Choose a filter's thresholds on ordinary posts, and fit how its values rise around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.gates import DEMOTE_AT
from feedmill.features.post_batch import PostBatch
from feedmill.filters.model import FilterModel, LengthCalibrator, log_odds
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.labelled_posts import LabelledPosts

# The most characters of the texts of each band but the last.
LENGTHS = np.array([100, 200, 400], dtype=np.int64)
# A source with fewer posts of a length does not choose their threshold; fewer of all do not either.
_MIN_ROWS = 200
# A length of which fewer violating posts were learned has no lower threshold than shorter ones.
_MIN_VIOLATING = 50
_HIDE_AT = 0.9


class RawScores(NamedTuple):
    """The raw scores of fine posts of one source, and how many characters each has."""

    raw: Values
    characters: npt.NDArray[np.int64]


def raw_scores(model: FilterModel, rows: LabelledPosts) -> RawScores:
    """Score the posts of one source."""
    batch = PostBatch(rows.posts)
    return RawScores(model.raw_scores(batch), batch.characters)


def learned_lengths(violating: npt.NDArray[np.int64]) -> Mask:
    """Return of which lengths enough violating posts were learned: (bands,).

    `violating` is how many characters each of them has.
    """
    counts = np.bincount(np.searchsorted(LENGTHS, violating), minlength=len(LENGTHS) + 1)
    return np.asarray(counts >= _MIN_VIOLATING)


def thresholds(sources: Sequence[RawScores], rate: float, learned: Mask) -> Values:
    """Return the raw score of each length that at most this fraction of any source exceeds.

    A length with few posts takes over the threshold of the next shorter one, the shortest lengths
    that of all posts.  A length that was not `learned`, (bands,), has no lower threshold than the
    shorter ones: how its fine posts score says nothing about violating ones.
    """
    all_raw = np.concatenate([source.raw for source in sources])
    band_of = [np.searchsorted(LENGTHS, source.characters) for source in sources]
    chosen: list[float] = []
    last = float(np.quantile(all_raw, 1 - rate))
    for band in range(len(LENGTHS) + 1):
        raw = [source.raw[bands == band] for source, bands in zip(sources, band_of, strict=True)]
        enough = [part for part in (*raw, np.concatenate(raw)) if len(part) >= _MIN_ROWS]
        last = max((float(np.quantile(part, 1 - rate)) for part in enough), default=last)
        if not learned[band]:
            last = max([last, *chosen])
        chosen.append(last)
    return np.array(chosen)


def choose_thresholds(
    ordinary: Sequence[RawScores],
    slope: float,
    rates: tuple[float, float],
    ceiling: float,
    learned: Mask,
) -> LengthCalibrator:
    """Put the thresholds of each length at a gate's defaults.

    Parameters
    ----------
    ordinary
        The posts that choose.
    slope
        How steeply values rise; less where more would be hidden than may be.
    rates
        The largest fractions of ordinary posts to demote and to hide.
    ceiling
        The highest value.
    learned
        (bands,): of which lengths enough violating posts were learned.
    """
    demote_at, hide_at = (thresholds(ordinary, rate, learned) for rate in rates)
    if ceiling > _HIDE_AT:
        apart = max(float((hide_at - demote_at).max()), 0.1)
        slope = min(slope, (log_odds(_HIDE_AT) - log_odds(DEMOTE_AT)) / apart)
    return LengthCalibrator(LENGTHS, demote_at, slope, ceiling)


def fit_slope(raw: Values, labels: Values, weights: Values) -> float:
    """Return how many log-odds a raw score is worth: Platt (1999), without his intercept.

    The intercept is the part of violating posts, which no data set knows of a product; the
    thresholds set it.  `raw`, `labels` (above 0.5 violates) and `weights` are (rows,) each.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 the `train` extra

    model = LogisticRegression(C=np.inf)
    model.fit(raw[:, None], labels > 0.5, sample_weight=weights)
    return max(float(model.coef_[0, 0]), 0.1)
