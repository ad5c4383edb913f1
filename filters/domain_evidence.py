"""What linked domains say of a post: the less credible one is, the closer the post is to demotion.

By the default thresholds a domain alone never demotes: one page of news that links to its own
domain would be demoted whole (`docs/decisions/filter-models.md`).  An operator who wants that
lowers `demote_at` of the gate, or hides domains by rules.
"""

from __future__ import annotations

import numpy as np

from feedmill.events.gates import DEMOTE_AT
from feedmill.features.domain_quality import lowest_scores
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores

# Domains of a higher score raise nothing; it is a little below the median of the list.
DOUBTFUL_BELOW = 0.5
# Just below the default `demote_at`.
HIGHEST_VALUE = DEMOTE_AT - 0.01


def raise_by_domains(batch: PostBatch, values: Scores) -> Scores:
    """Return (posts,) values, raised where a linked domain has a score below `DOUBTFUL_BELOW`.

    In proportion to what the score lacks, to `HIGHEST_VALUE` at most.
    """
    if not any(batch.link_hosts):
        return values
    lack = 1 - lowest_scores(batch) / DOUBTFUL_BELOW
    return np.where(lack > 0, np.maximum(values, HIGHEST_VALUE * lack), values)
