from collections.abc import Callable

import numpy as np
import pytest
from learning_curves import (
    FRACTIONS,
    Curve,
    curve_lines,
    health_curve,
    nsfw_curve,
    sms_curve,
    some_groups,
    without_largest_group,
)

from builders.leaks import Parrot, check_nothing_leaked
from builders.training_data import dataset, labelled, ordinary
from feedmill.training.datasets.labelled_posts import text_fingerprint
from feedmill.training.training_data import TrainingData


def data(*seeds: int) -> TrainingData:
    return TrainingData(
        tuple(dataset(labelled(f"set{seed}", seed)) for seed in seeds),
        (dataset(ordinary("one", 3)), dataset(ordinary("bluesky", 4, "a vaccine today"))),
    )


@pytest.mark.parametrize(
    ("curve_of", "given"),
    [(nsfw_curve, data(1)), (sms_curve, data(1, 11)), (health_curve, data(1, 11))],
)
def test_no_test_row_trains_or_is_measured_and_nothing_leaks(
    curve_of: Callable[[TrainingData], Curve], given: TrainingData, parrots: list[Parrot]
) -> None:
    test_texts = {
        text_fingerprint(text)
        for d in (*given.labelled, *given.ordinary)
        for text in d.rows.split("test").texts
    }
    curve = curve_of(given)
    assert test_texts
    assert len(curve.points) > len(FRACTIONS)
    check_nothing_leaked(parrots)
    for parrot in parrots:
        assert not parrot.texts & test_texts
        assert not {text_fingerprint(post.text) for post in parrot.scored} & test_texts


@pytest.mark.usefixtures("parrots")
def test_points_of_a_curve_learn_from_more_and_more_groups() -> None:
    points = nsfw_curve(data(1)).points[: len(FRACTIONS)]
    groups = [point.groups for point in points]
    assert groups == sorted(set(groups))
    train = data(1).labelled[0].rows.split("train")
    assert (points[-1].groups, points[-1].rows) == (len(set(train.groups)), len(train))
    lines = curve_lines(nsfw_curve(data(1)))
    assert lines[0] == "## NSFW: Reddit without its largest subreddit"
    assert f"| 1/2 of the subreddits | {points[2].rows:,} | {points[2].groups} |" in lines[8]


def test_smaller_parts_of_the_groups_are_inside_larger_ones() -> None:
    rows = labelled("set", 1)
    parts = [set(some_groups(rows, fraction).groups) for fraction in FRACTIONS]
    assert [len(part) for part in parts] == [4, 8, 15, 30]
    assert parts[0] < parts[1] < parts[2] < parts[3] == set(rows.groups)


def test_the_largest_group_by_violating_rows_is_left_away() -> None:
    rows = labelled("set", 1)
    few = rows.where(
        np.array([g != "set|g3" or y == 0 for g, y in zip(rows.groups, rows.labels, strict=True)])
    )
    twice = few.where(
        np.array([g != "set|g4" or y == 1 for g, y in zip(few.groups, few.labels, strict=True)])
    )
    kept = without_largest_group(
        twice.where(np.array([g in {"set|g3", "set|g4"} for g in twice.groups]))
    )
    assert set(kept.groups) == {"set|g3"}
