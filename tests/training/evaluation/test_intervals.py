import numpy as np
import pytest
from scipy.stats import binomtest

from feedmill.training.evaluation.intervals import Bootstrap, wilson


@pytest.mark.parametrize(("hits", "rows"), [(0, 30), (7, 30), (30, 30), (113, 140)])
def test_wilsons_interval_is_scipys(hits: int, rows: int) -> None:
    expected = binomtest(hits, rows).proportion_ci(method="wilson")
    figure = wilson(hits, rows)
    assert (figure.low, figure.high) == pytest.approx((expected.low, expected.high))
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)


def test_groups_that_differ_make_a_wider_interval_than_their_rows_would() -> None:
    groups = np.repeat([f"g{i}" for i in range(40)], 50)
    by_group = np.repeat(np.arange(40) % 4 == 0, 50)  # whole groups are hits
    by_row = np.arange(2_000) % 4 == 0
    every = np.ones(2_000, np.bool_)
    bootstrap = Bootstrap(groups.tolist())
    wide, narrow = bootstrap.fraction(by_group, every), bootstrap.fraction(by_row, every)
    assert wide.value == narrow.value == 0.25
    # A fraction of 40 independent groups, not of 2,000 rows.
    assert (wide.low, wide.high) == pytest.approx((0.13, 0.385), abs=0.02)
    assert (narrow.low, narrow.high) == pytest.approx((0.232, 0.27), abs=0.005)


def test_no_hit_at_all_still_has_an_upper_end() -> None:
    groups = [f"g{i % 50}" for i in range(300)]
    none, every = np.zeros(300, np.bool_), np.ones(300, np.bool_)
    assert Bootstrap(groups).fraction(none, every) == wilson(0, 300)


def test_few_groups_are_drawn_by_rows() -> None:
    groups = [f"g{i % 3}" for i in range(300)]
    bootstrap = Bootstrap(groups)
    assert (bootstrap.groups, bootstrap.is_clustered) == (3, False)
    hits, every = np.arange(300) < 75, np.ones(300, np.bool_)
    assert bootstrap.fraction(hits, every) == wilson(75, 300)
