"""Challengers of quality: better orders are shown, moved and stretched values are not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from builders.label_simulation import clean_rows, label_records
from feedmill.rankers.quality import RANKER, QualityModel
from feedmill.training.continual.challenger import ALPHA, VETO_ALPHA, ChallengeResult, challenge
from feedmill.training.continual.rated_posts import AuditedPost
from feedmill.training.continual.rating_contest import RatingContest
from feedmill.training.fitting.quality import with_delta
from feedmill.training.label_join import LabelRecord


def shipped() -> QualityModel:
    model = RANKER.load()
    assert isinstance(model, QualityModel)
    return model


SHIPPED = shipped()


def ratings(seed: int, *, by_phrase: bool = True) -> list[LabelRecord]:
    """Posts with a phrase are rated 0.9 or 1, others 0 to 0.2; or by lot."""
    random = np.random.default_rng(seed)
    return [
        record._replace(label=float(abs(record.label - random.choice([0, 0.1, 0.2]))))
        for record in label_records("wave" if by_phrase else "none", seed)
    ]


def challenged(
    records: Sequence[LabelRecord], audit: Sequence[AuditedPost] = (), **more: Any
) -> ChallengeResult[Any]:
    given = {"from_ms": 0, "champion": SHIPPED, **more}
    return challenge(RatingContest(records=records, audit=audit, **given))


def test_what_raters_like_is_learned_and_shown_to_be_better() -> None:
    found = challenged(ratings(1))
    assert (found.reason, found.not_worse) == ("", None)
    assert found.better >= 1 / ALPHA
    assert "not_worse" not in found.e_values
    assert found.fitted is not None
    later = clean_rows("wave", 2)
    orders = [
        spearmanr(model.score_many(later.posts), later.labels).statistic
        for model in (SHIPPED, with_delta(SHIPPED, found.fitted))
    ]
    assert orders[1] > max(0.8, orders[0] + 0.2)


def test_ratings_by_lot_release_nothing() -> None:
    found = challenged(ratings(1, by_phrase=False))
    assert (found.fitted, found.reason) == (None, "it is not shown to be better")


@pytest.mark.parametrize(("slope", "offset"), [(1.0, -0.2), (0.3, 0.5), (-0.4, 0.9)])
def test_what_a_line_does_is_no_reason_for_a_release(slope: float, offset: float) -> None:
    """The raters say what the champion says, but lower, narrower, or the other way round."""
    random = np.random.default_rng(3)
    records = label_records("none", 3)
    values = SHIPPED.score_many([record.post for record in records])
    said = np.clip(slope * values + offset + random.normal(0, 0.05, len(values)), 0, 1)
    moved = [one._replace(label=float(y)) for one, y in zip(records, said, strict=True)]
    # The values themselves would lose by far: nearly all of their error is of the line.
    assert np.square(values - said).mean() > 4 * 0.05**2
    assert challenged(moved).better < 1 / ALPHA


def test_the_gains_are_bounded_by_what_any_label_could_bring() -> None:
    records = ratings(1)
    made = RatingContest(records, 0, (), SHIPPED)
    for label in (0.0, 1.0):
        gains = made.gains(records[:200], [one._replace(label=label) for one in records[200:]])
        assert np.abs(gains).max() <= 1
    # A bet knows the labels before it alone.
    others = [one._replace(label=1 - one.label) for one in records[110:]]
    after = RatingContest([*records[:110], *others], 0, (), SHIPPED)
    assert after.bets().differences[:60] == pytest.approx(made.bets().differences[:60])


def test_the_audit_vetoes_what_raters_together_like() -> None:
    rows = clean_rows("wave", 5)
    against = [
        AuditedPost(post, 1 - label, 0.1)
        for post, label in zip(rows.posts, rows.labels.tolist(), strict=True)
    ]
    found = challenged(ratings(1), against)
    assert found.reason == "the audit shows that it is worse"
    assert found.worse is not None and found.worse >= 1 / VETO_ALPHA
    right = [row._replace(label=1 - row.label) for row in against]
    assert challenged(ratings(1), right).reason == ""


def test_too_few_labels_or_authors_or_all_alike_start_nothing() -> None:
    records = ratings(1)
    alike = [record._replace(label=0.5) for record in records]
    for few in (records[:199], alike):
        found = challenged(few)
        assert "expected 200 of 20, and not all alike" in found.reason
        assert (found.bets, found.fitted) == (0, None)
    ann = [record._replace(post=records[0].post) for record in records]
    assert challenged(ann).reason.startswith("there are 240 labels of posts of 1 authors")
