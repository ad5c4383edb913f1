"""What a release of the filters must reach, on rows that nobody trained, tuned or looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["stored", "folds", "alone", "left out", "left out, with lexicon"]
# Models that are trained to be evaluated and thrown away: what ships is another model.
OTHER_MODELS: tuple[Mode, ...] = ("folds", "alone", "left out", "left out, with lexicon")

# Ordinary posts of every source and length with so many rows, by all filters together.
MAX_HIDDEN, MAX_DEMOTED, MIN_CELL_ROWS = 0.01, 0.03, 300
# No page, subreddit or host with so many posts has more hidden, by the lower end of its interval.
MAX_HIDDEN_OF_GROUP, MIN_GROUP_ROWS = 0.05, 100
# The recall at 1 % after 200 labels of a source left out entirely, the mean of ten draws.
LABELS_OF_BAR = 200
MIN_RECALL_AFTER_LABELS = {"youtube": 0.75, "sms": 0.90}
# Posts with words of health, of sources that did not train the filter of misinformation.
MAX_HEALTH_DEMOTED = 0.10


@dataclass(frozen=True)
class Bar:
    """What a filter must reach on a data set; `at_most` where less is better.

    `metric` is a field of `FilterMetrics`.  With `without_largest` the group with most violating
    rows does not count.
    """

    filter: str
    dataset: str
    mode: Mode
    metric: str
    value: float
    at_most: bool = False
    without_largest: bool = False

    def is_reached(self, measured: float) -> bool:
        """Whether a measured value is good enough."""
        return measured <= self.value if self.at_most else measured >= self.value


BARS = (
    Bar("spam", "youtube", "stored", "caught_demoted", 0.75),
    Bar("spam", "sms", "stored", "caught_demoted", 0.92),
    Bar("spam", "youtube", "left out", "auc", 0.80),
    Bar("spam", "sms", "left out", "auc", 0.90),
    Bar("nsfw", "reddit_over18", "stored", "auc", 0.69, without_largest=True),
    Bar("nsfw", "reddit_over18", "stored", "caught_demoted", 0.13, without_largest=True),
    Bar("nsfw", "reddit_over18", "stored", "fine_demoted", 0.02, at_most=True),
    Bar("misinformation", "covid", "stored", "caught_demoted", 0.75),
)
