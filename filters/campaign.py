"""Copy-paste campaigns: how likely a post is spam because of what came before it.

One text that many accounts put out within minutes, with a word changed here and there, is what a
campaign looks like whatever it says; and one account that says the same over and over floods.  Five
people who pass on a headline are neither, so that nothing happens before the seventh post.  From
then on the number of copies tells; who wrote them says which of the two it is, and a single
author, who has no one to pass anything on from, is given one copy less.

What it cannot do: a text that is passed on word for word by ten people within `WINDOW_MS`, and is
ten words long, looks the same as a campaign.  `override allow` is for those.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from feedmill.features.history.post_history import WINDOW_MS, CopyCounts

# By earlier copies.  At the shipped thresholds six demote and eight hide: the tenth post is to be
# hidden for certain, and one with more changes than most may not have been counted.
_COPIES = (3.0, 5.0, 6.0, 7.0, 8.0, 31.0)
_PROBABILITIES = (0.0, 0.4, 0.62, 0.8, 0.92, 0.99)
_MINUTES = WINDOW_MS // 60_000


def campaign_probabilities(pasts: Sequence[CopyCounts]) -> npt.NDArray[np.float64]:
    """Return (len(pasts),) float64 in [0, 1]: the probability that each post is part of one."""
    copies = np.array([past.copies + (past.authors == 1) for past in pasts], dtype=np.float64)
    return np.interp(copies, _COPIES, _PROBABILITIES)


def campaign_reason(past: CopyCounts) -> str:
    """Say what speaks against a post, for its signal."""
    who = "one author" if past.authors == 1 else f"{past.authors} authors"
    return f"copy of {past.copies} posts by {who} within {_MINUTES} minutes"
