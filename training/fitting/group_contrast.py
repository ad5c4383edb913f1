"""How much an n-gram tells violating posts from fine ones, counted by group.

Naive Bayes' log-count ratios scale the columns of a linear model (Wang and Manning 2012).  Here a
group counts once, however often it says a word: what one large community says is not evidence.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from feedmill.features.text.ngrams import BUCKETS
from feedmill.training.arrays import Mask, Values

# So many groups are added to each count, and such a part of the scale is the same for all n-grams.
_SMOOTHING, _PLAIN = 3.0, 0.5


def group_contrast(matrix: Any, violating: Mask, group_of: npt.NDArray[np.int64]) -> Values:
    """Return the scale of each n-gram, 1 in the mean square but for what all share.

    The number of groups where a violating post has the n-gram is divided by the number that chance
    would give, if violating posts were drawn at random within each group; that of fine posts
    likewise.  The scale grows with the logarithm of the ratio of both.

    Parameters
    ----------
    matrix
        scipy CSR (rows, BUCKETS), positive where a row has the n-gram.
    violating, group_of
        (rows,) each; rows of a negative group do not count.

    Returns
    -------
    (BUCKETS,), all 1 where one class alone counts.
    """
    from scipy import sparse  # noqa: PLC0415 the `train` extra

    counted = group_of >= 0
    group = np.unique(group_of[counted], return_inverse=True)[1]
    is_bad = violating[counted]
    if not is_bad.any() or is_bad.all():
        return np.ones(BUCKETS)
    present = (matrix[counted] > 0).astype(np.float32)
    places = (group, np.arange(len(group)))
    member = sparse.csr_matrix((np.ones(len(group), np.float32), places))
    of_all = (member @ present).tocsr()
    of_bad = (member @ present.multiply(is_bad[:, None].astype(np.float32)).tocsr()).tocsr()
    rate = np.bincount(group, is_bad) / np.bincount(group)
    chance = np.repeat(rate, np.diff(of_all.indptr))
    logs, seen = np.zeros(BUCKETS), np.bincount(of_all.indices, minlength=BUCKETS) > 0
    for sign, rates, groups, prior in (
        (1, 1 - chance, of_bad, rate.mean()),
        (-1, chance, of_all - of_bad, 1 - rate.mean()),
    ):
        found = np.bincount(groups.indices, groups.data > 0, minlength=BUCKETS)
        expected = np.bincount(of_all.indices, 1 - rates**of_all.data, minlength=BUCKETS)
        more = _SMOOTHING * prior
        logs += sign * np.log((found + more) / (expected + more))
    contrast = np.where(seen, np.abs(logs), 0.0)
    spread = float(np.sqrt((contrast[seen] ** 2).mean())) or 1.0
    return np.asarray(_PLAIN + (1 - _PLAIN) * contrast / spread)
