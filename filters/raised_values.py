"""What raises a filter's value beside its model: copies by many, a linked domain, the author.

*Campaigns.*  Many accounts that post one text within minutes, with a word changed here and there,
are a campaign, whatever the text says.  One account that repeats its text floods.  Five people who
pass on a headline are neither, so that nothing happens before the seventh post; after that the
probability rises with the number of copies.  A single author counts as one copy more, having nobody
to pass anything on from.  The limit: a text of ten words that ten people pass on word for word
within `WINDOW_MS` looks like a campaign too.  Moderators have `feedmill override allow` for it, and
rules and lists that allow a phrase or a domain.

*First authors.*  Who posted a text first copies nobody: of this author's posts only own repetitions
count, so that copies do not silence whom they copy.  From the second repetition on, the copies by
others demote such a post, but do not hide it: a spammer who posts first shows one post more.

*Domains.*  The less credible a linked one is, the closer the post is to demotion.  By the default
thresholds a domain alone never demotes: one page of news that links to its own domain would be
demoted whole (`docs/decisions/filter-models.md`).  An operator who wants that lowers `demote_at` of
the gate, or hides domains by rules.

*Authors* label posts of their own: some labels are believed.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np
import numpy.typing as npt

from feedmill.events.gates import DEMOTE_AT
from feedmill.events.post import Post
from feedmill.features.domain_quality import lowest_scores
from feedmill.features.near_copies import WINDOW_MS, CopyCounts
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores

# Interpolated by earlier copies.  At the default thresholds six demote and eight hide, so that the
# tenth post is hidden even if one copy, more changed than the others, was not counted.
_COPIES = (3.0, 5.0, 6.0, 7.0, 8.0, 31.0)
_PROBABILITIES = (0.0, 0.4, 0.62, 0.8, 0.92, 0.99)
_MINUTES = WINDOW_MS // 60_000
# From so many own repetitions on, the copies by others demote a post of the first author.
_OWN_ALONE = 2
_DEMOTED = 5


def campaign_probabilities(pasts: Sequence[CopyCounts]) -> npt.NDArray[np.float64]:
    """Return the probability that each post is part of a campaign: (len(pasts),) in [0, 1]."""
    copies = np.array([*map(_counted, pasts)], dtype=np.float64)
    return np.interp(copies, _COPIES, _PROBABILITIES)


def _counted(past: CopyCounts) -> int:
    """Return how many copies count."""
    if past.own is None:
        return past.copies + (past.authors == 1)
    with_others = min(past.copies, _DEMOTED) if past.own >= _OWN_ALONE else 0
    return max(past.own, with_others) + 1


def campaign_reason(past: CopyCounts) -> str:
    """Return in a few words why a post is part of a campaign, for `Signal.reason`."""
    if past.own is not None and past.authors > 1:
        return (
            f"{past.own} repetitions of the author's own text, and {past.copies - past.own} copies"
            f" by others, in {_MINUTES} minutes"
        )
    who = "one author" if past.authors == 1 else f"{past.authors} authors"
    return f"copy of {past.copies} posts by {who} within {_MINUTES} minutes"


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


# Above the default hide_at: nobody gives a walk in the woods such a label.
SELF_LABELLED_VALUE = 0.95


def raise_self_labelled(believed: Set[str], posts: Sequence[Post], values: Scores) -> Scores:
    """Return (posts,) values, raised to `SELF_LABELLED_VALUE` where a post has a believed label.

    The labels are those that the author gives; the believed ones are case-folded.
    """
    if not believed:
        return values
    labelled = [
        any(label.casefold() in believed for label in post.self_labels or ()) for post in posts
    ]
    if not any(labelled):
        return values
    return np.where(labelled, np.maximum(values, SELF_LABELLED_VALUE), values)
