"""Show where the two rankers disagree: texts that draw clicks and are rated poorly, by id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from feedmill.features.text.ngrams import TextBatch
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.quality import QualityModel
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.headline_tests import (
    in_test_split,
    posts_of_arms,
    read_arms,
    significant_pairs,
)
from feedmill.training.datasets.ratings import WEBIS
from feedmill.training.evaluation.intervals import Bootstrap
from feedmill.training.evaluation.metrics import ranks
from feedmill.training.evaluation.ranker_report import (
    RankerEvaluation,
    Section,
    correlation_figures,
)

_POOR = 0.5
_MOST_SHOWN = 8


class _Headlines(NamedTuple):
    """Texts with what is known of them: (rows,) each; `shown` are those that the table is about."""

    ids: Sequence[str]
    texts: Sequence[str]
    groups: Sequence[str]
    truth: Values
    shown: Mask


def evaluate_contrast(
    folder: Path, quality: QualityModel, engagement: ExpectedClicks, evaluation: RankerEvaluation
) -> None:
    """Add the test rows on which the stored rankers differ most; it looks at test rows.

    Headlines that people rated poorly are Webis rows, those that earned more clicks than another
    one of their test are Upworthy arms.  Raises `UsageError` where a file is missing.
    """
    rated = WEBIS.load(folder).split("test")
    ids = [post.post_id for post in rated.posts]
    poor = _Headlines(ids, rated.texts, rated.groups, rated.labels, rated.labels < _POOR)
    arms = read_arms(folder)
    arms = arms.where(in_test_split(arms))
    is_better = np.zeros(len(arms), dtype=np.bool_)
    is_better[significant_pairs(arms)[:, 0]] = True
    ids = [post.post_id for post in posts_of_arms(arms)]
    rates = arms.clicks / arms.impressions
    clicked = _Headlines(ids, arms.texts, arms.tests, rates, is_better)
    evaluation.sections.extend(
        (
            _section("Headlines rated below 0.5, webis", "rating", poor, quality, engagement),
            _section(
                "Headlines with significantly more clicks than another of their test, upworthy",
                "click rate",
                clicked,
                quality,
                engagement,
            ),
        )
    )


def _section(
    title: str,
    truth: str,
    rows: _Headlines,
    quality_model: QualityModel,
    engagement_model: ExpectedClicks,
) -> Section:
    batch = TextBatch(rows.texts)
    quality, engagement = quality_model.score_texts(batch), engagement_model.prior_texts(batch)
    below, above = _places(quality), _places(engagement)
    order = np.argsort(-np.where(rows.shown, above - below, -np.inf), kind="stable")
    both = int((rows.shown & (above >= 0.5) & (below < 0.5)).sum())
    figure = correlation_figures(Bootstrap(rows.groups), [quality], engagement)[0]
    return Section(
        title,
        f"Of {int(rows.shown.sum()):,}, {both:,} are in the upper half of all {len(batch):,} by "
        "engagement and in the lower half by quality; below are those with the widest gap. "
        f"Spearman's correlation of the two signals on all of them is {figure}.",
        ("row", truth, "engagement", "is above", "quality", "is above"),
        [
            (
                rows.ids[row],
                f"{rows.truth[row]:.3f}",
                f"{engagement[row]:.4f}",
                f"{above[row]:.0%}",
                f"{quality[row]:.3f}",
                f"{below[row]:.0%}",
            )
            for row in order[: min(_MOST_SHOWN, int(rows.shown.sum()))]
        ],
    )


def _places(values: Values) -> Values:
    """Return the fraction of the rows that each is above, ties half: (rows,)."""
    return ranks(values) / len(values)
