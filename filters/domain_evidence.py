"""What linked domains say of a post: one of little credibility demotes, and never hides."""

from __future__ import annotations

import numpy as np

from feedmill.features.domain_quality import lowest_scores
from feedmill.features.post_batch import PostBatch
from feedmill.filters.calibration import DEMOTE_AT
from feedmill.models.text_model import Scores

# A tenth of the listed domains have a lower score; of ordinary posts 0.6 % of any source link to
# one (`docs/decisions/0020-linear-filters.md`).
DEMOTE_BELOW = 0.25
_HIGHEST = 0.89


def raise_by_domains(batch: PostBatch, values: Scores) -> Scores:
    """Return (posts,) values, raised where a linked domain has a score below `DEMOTE_BELOW`.

    The lower the score, the higher the value: from the default `demote_at` to just below `hide_at`.
    """
    lack = 1 - lowest_scores(batch) / DEMOTE_BELOW
    from_domains = DEMOTE_AT + (_HIGHEST - DEMOTE_AT) * lack
    return np.where(lack > 0, np.maximum(values, from_domains), values)
