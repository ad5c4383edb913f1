"""A challenger is released where it is better, and poisoned labels release nothing worse."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from builders.label_simulation import (
    Scenario,
    audited_rows,
    clean_rows,
    label_records,
    ordinary_posts,
)
from feedmill.events.gates import GatePolicy
from feedmill.features.post_batch import PostBatch
from feedmill.filters.model import FilterModel
from feedmill.filters.spam import FILTER
from feedmill.training.arrays import Values
from feedmill.training.continual.challenger import (
    ALPHA,
    VETO_ALPHA,
    ChallengeResult,
    challenge,
    e_value,
)
from feedmill.training.continual.filter_contest import (
    MARGIN,
    MOST_MORE,
    FilterContest,
    audit_differences,
    done_by,
    majorities,
    reference_differences,
)
from feedmill.training.continual.label_bets import challenge_by_raters
from feedmill.training.continual.rated_posts import AuditedPost
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.fitting.filters import FittedFilter
from feedmill.training.label_join import LabelRecord
from feedmill.training.recipes import RECIPES

RECIPE = RECIPES["spam"]
SHIPPED, ORDINARY = FILTER.load(), ordinary_posts(4800)


def contest(
    records: Sequence[LabelRecord], audit: Sequence[AuditedPost] = (), **more: Any
) -> FilterContest:
    given: dict[str, Any] = {"gate": GatePolicy(), "from_ms": 0, **more}
    given |= {"champion": SHIPPED, "base": SHIPPED, "recipe": RECIPE, "ordinary": ORDINARY}
    return FilterContest(records=records, audit=audit, **given)


def challenged(
    records: Sequence[LabelRecord], audit: Sequence[AuditedPost] = (), **more: Any
) -> ChallengeResult[FittedFilter]:
    return challenge(contest(records, audit, **more))


def model_of(found: ChallengeResult[FittedFilter]) -> FilterModel:
    assert found.fitted is not None
    return found.fitted.model("spam", "0" * 12)


def wrong(model: FilterModel, rows: LabelledPosts) -> Values:
    """How wrong it is to do with each row what the default gate does: (rows,), in [0, 1]."""
    return np.abs(done_by(GatePolicy(), model.score_many(rows.posts)) - rows.labels)


def test_what_a_gate_does_is_bet_on() -> None:
    values = np.array([0.1, 0.6, 0.89, 0.9, 1.0])
    assert done_by(GatePolicy(), values).tolist() == [0, 0.5, 0.5, 1, 1]
    assert done_by(GatePolicy(hide_at=None), values).tolist() == [0, 0.5, 0.5, 0.5, 0.5]
    assert done_by(GatePolicy(demote_at=None), values).tolist() == [0, 0, 0, 1, 1]
    assert not done_by(GatePolicy(shadow=True), values).any()


def test_a_new_wave_is_caught_after_240_labels() -> None:
    found = challenged(label_records("wave", 1))
    assert found.reason == ""
    assert min(found.better, found.e_values["not_worse"]) >= 1 / ALPHA
    unseen = clean_rows("wave", 2)
    assert SHIPPED.score_many(unseen.posts).max() < 0.6
    values = model_of(found).score_many(unseen.posts)
    assert (values[unseen.labels == 1] >= 0.9).mean() > 0.95
    assert (values[unseen.labels == 0] >= 0.9).mean() <= 0.01


@pytest.mark.parametrize("seed", [1, 2])
def test_labels_that_say_nothing_release_nothing(seed: int) -> None:
    assert challenged(label_records("none", seed)).reason != ""


@pytest.mark.parametrize("scenario", ["flood", "flips"])
def test_what_poisoned_labels_release_is_not_worse(scenario: Scenario) -> None:
    found = challenged(label_records(scenario, 0))
    # The cap and the bets leave enough of the wave to be learned all the same.
    assert found.better >= 1 / ALPHA
    clean = clean_rows(scenario, 4)
    more = wrong(model_of(found), clean) - wrong(SHIPPED, clean)
    # The mean is above this with a probability of 0.99.
    assert more.mean() - 2.33 * more.std() / np.sqrt(len(more)) <= 0


def test_raters_who_act_together_are_stopped_by_the_audit_alone() -> None:
    """All call fine posts with one phrase spam: nothing in their labels shows that it is wrong."""
    rows, audit = label_records("brigade", 1), audited_rows("brigade", 1)
    without = challenged(rows)
    assert (without.reason, without.worse) == ("", 1.0)
    found = challenged(rows, audit)
    assert found.reason == "the audit shows that it is worse"
    assert found.worse is not None and found.worse >= 1 / VETO_ALPHA


def test_the_audit_does_not_veto_what_catches_a_wave() -> None:
    audit = audited_rows("wave", 1)
    found = challenged(label_records("wave", 1), audit)
    assert found.reason == ""
    assert found.worse is not None and found.worse < 1


def test_a_row_of_the_audit_weighs_as_many_posts_as_it_stands_for() -> None:
    rows = audited_rows("none", 1, 40)
    raw = SHIPPED.raw_scores(PostBatch([row.post for row in rows]))
    demote_at = np.full_like(SHIPPED.calibrator.demote_at, raw.min() - 1.0)
    strict = replace(SHIPPED, calibrator=replace(SHIPPED.calibrator, demote_at=demote_at))
    even = audit_differences(SHIPPED, strict, rows)
    assert even.min() >= 0.5
    rows = [row._replace(probability=0.1 if n % 2 else 0.4) for n, row in enumerate(rows)]
    assert audit_differences(SHIPPED, strict, rows) == pytest.approx(
        even * np.tile([0.25, 1.0], 20)
    )
    assert audit_differences(strict, SHIPPED, rows).max() < 0
    # A wrong probability of one row does not silence the others.
    rows[1] = rows[1]._replace(probability=1e-9)
    assert audit_differences(SHIPPED, strict, rows) == pytest.approx(
        even * np.tile([0.25, 1.0], 20)
    )
    assert len(audit_differences(strict, SHIPPED, [])) == 0


def test_one_rater_alone_releases_nothing() -> None:
    """Nor two: what one of them says is left out, and the other has twenty labels."""
    few = [record._replace(rater="ann") for record in label_records("wave", 5)]
    assert "expected 200" in challenged(few).reason
    two = [record._replace(rater=f"r{n % 2}") for n, record in enumerate(few)]
    assert contest(two).counts["beyond a rater's part"] > 150
    assert "expected 200" in challenged(two).reason


def test_a_liar_releases_nothing_alone() -> None:
    """All that others say is drawn by lot; one rater calls what has a phrase spam."""
    phrase = label_records("wave", 5)
    lot = label_records("none", 6)
    records = [
        mine._replace(rater="liar") if n % 8 == 0 else other
        for n, (mine, other) in enumerate(zip(phrase, lot, strict=True))
    ]
    found = challenged(records)
    assert (found.fitted, found.reason) == (None, "it is not shown to be better")


def test_too_few_labels_start_nothing() -> None:
    rows = [row for row in label_records("wave", 5) if not row.label][:100]
    found = challenged(rows)
    assert "of 0 posts that they violate, of 100 that they are fine" in found.reason
    assert (found.bets, found.fitted) == (0, None)


def test_two_raters_who_tie_end_nothing() -> None:
    """One labels twenty posts rightly, one calls all of them spam: ten posts have no label."""
    records = label_records("wave", 1)
    fine = [row for row in records if not row.label][:10]
    first = [*(row for row in records if row.label), *fine][-20:]
    tied = [
        row._replace(rater=rater, label=row.label if rater == "right" else 1.0, at_ms=n)
        for n, row in enumerate(first)
        for rater in ("right", "spam")
    ]
    assert [label for _, label in majorities(tied)] == [1.0] * 10
    for end in range(20, len(records), 20):
        assert "expected 200 labels" in challenged([*tied, *records[:end]][:199]).reason
    assert challenged([*tied, *records]).fitted is not None


def test_one_rater_of_eleven_keeps_no_challenger_back() -> None:
    """Who says the opposite of what is true is left out, and named."""
    records, opposite = [], clean_rows("wave", 9)
    for n, row in enumerate(label_records("flips", 5)):
        records.append(row._replace(rater=f"rater-{n % 10}"))
        if n % 8 == 0:
            label = 1.0 - float(opposite.labels[n // 8])
            records.append(LabelRecord(opposite.posts[n // 8], label, "opposite", row.at_ms))
    assert challenged(records).reason == "it is not shown to be better"
    made, found, rater = challenge_by_raters(contest(records))
    assert (found.reason, rater) == ("", "opposite")
    assert "opposite" not in {record.rater for record in made.counted}


@pytest.mark.parametrize("seed", range(6, 12))
def test_labels_drawn_by_lot_release_nothing_without_a_rater_either(seed: int) -> None:
    rows = enumerate(label_records("none", seed))
    by_lot = contest([row._replace(rater=f"rater-{n % 10}") for n, row in rows])
    made, found, rater = challenge_by_raters(by_lot)
    assert (made, found.reason, rater) == (by_lot, "it is not shown to be better", "")


def test_earlier_labels_train_and_do_not_bet() -> None:
    records = label_records("wave", 1)
    later = records[len(records) // 2].at_ms
    every, half = (challenged(records, from_ms=start).bets for start in (0, later))
    assert half < every
    assert half == sum(record.at_ms >= later for record in records)


@pytest.mark.parametrize("gate", [GatePolicy(enabled=False), GatePolicy(shadow=True)])
def test_a_gate_that_does_nothing_bets_nothing(gate: GatePolicy) -> None:
    assert "off or in shadow" in challenged(label_records("wave", 1), gate=gate).reason


def test_its_limits_are_what_it_did_to_the_posts_of_the_window() -> None:
    made = contest(label_records("wave", 1))
    fitted = made.fit()
    wave = clean_rows("wave", 9).posts  # half of them spam
    ordinary = list(ORDINARY.reference.posts)
    assert made.limits(fitted, []) == {"may_hide": 0.01, "may_demote": 0.01}
    assert made.limits(fitted, wave) == {"may_hide": MOST_MORE, "may_demote": MOST_MORE}
    assert made.limits(fitted, ordinary)["may_hide"] <= 0.015
    assert 0.02 < made.limits(fitted, [*wave[:30], *ordinary[:970]])["may_hide"] < 0.03


def test_a_model_that_hides_ordinary_posts_is_worse() -> None:
    same = reference_differences(SHIPPED, SHIPPED, ORDINARY)
    assert same == pytest.approx(np.full(len(same), MARGIN / (1 + MARGIN)))
    assert e_value(same) >= 1 / ALPHA
    # It demotes one ORDINARY post in ten.
    raw = SHIPPED.raw_scores(PostBatch(ORDINARY.reference.posts))
    demote_at = np.full_like(SHIPPED.calibrator.demote_at, np.quantile(raw, 0.9))
    strict = replace(SHIPPED, calibrator=replace(SHIPPED.calibrator, demote_at=demote_at))
    posts = ORDINARY.reference.posts
    harms = [done_by(GatePolicy(), model.score_many(posts)).mean() for model in (strict, SHIPPED)]
    assert harms[0] > MARGIN + harms[1]
    assert e_value(reference_differences(SHIPPED, strict, ORDINARY)) < 1 / ALPHA


def test_the_ordinary_posts_of_an_author_are_not_divided() -> None:
    assert not set(ORDINARY.choosing.groups) & set(ORDINARY.reference.groups)
    assert 0.25 < len(ORDINARY.choosing) / 4800 < 0.42
    assert len(np.unique(ORDINARY.authors)) == len(set(ORDINARY.reference.groups))
