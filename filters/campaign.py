"""Copy-paste campaigns: how likely a post violates because of the posts before it.

Many accounts that post one text within minutes, with a word changed here and there, are a campaign,
whatever the text says.  One account that repeats its text floods.  Five people who pass on a
headline are neither, so that nothing happens before the seventh post; after that the probability
rises with the number of copies.  A single author counts as one copy more, having nobody to pass
anything on from.

The limit: a text of ten words that ten people pass on word for word within `WINDOW_MS` looks like a
campaign too.  Moderators have `feedmill override allow` for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from feedmill.features.history.post_history import WINDOW_MS, CopyCounts

# Interpolated by earlier copies.  At the default thresholds six demote and eight hide, so that the
# tenth post is hidden even if one copy, more changed than the others, was not counted.
_COPIES = (3.0, 5.0, 6.0, 7.0, 8.0, 31.0)
_PROBABILITIES = (0.0, 0.4, 0.62, 0.8, 0.92, 0.99)
_MINUTES = WINDOW_MS // 60_000


def campaign_probabilities(pasts: Sequence[CopyCounts]) -> npt.NDArray[np.float64]:
    """Return the probability that each post is part of a campaign: (len(pasts),) in [0, 1]."""
    copies = np.array([past.copies + (past.authors == 1) for past in pasts], dtype=np.float64)
    return np.interp(copies, _COPIES, _PROBABILITIES)


def campaign_reason(past: CopyCounts) -> str:
    """Return in a few words why a post is part of a campaign, for `Signal.reason`."""
    who = "one author" if past.authors == 1 else f"{past.authors} authors"
    return f"copy of {past.copies} posts by {who} within {_MINUTES} minutes"
