from dataclasses import replace

import numpy as np
import pytest

from feedmill.features.authorship import UNKNOWN_AUTHOR, UNKNOWN_HOUR
from feedmill.training.fitting.post_effects import EffectPenalties, EffectRows, fit_effects

INF = np.inf
PENALTIES = EffectPenalties((INF, 10.0, 100.0), (INF, 1.0, 10.0))
DAYS, AUTHORS, BY_DAY = 30, 12, 40


def planted(author_sd: float, hour_size: float, seed: int = 1) -> tuple[EffectRows, np.ndarray]:
    """Rows whose logs are a day's level, an author, an hour and noise; the planted authors too."""
    random = np.random.default_rng(seed)
    days = np.repeat(np.arange(DAYS), BY_DAY)
    authors = random.integers(0, AUTHORS, len(days))
    hours = random.integers(0, 24, len(days))
    of_authors = author_sd * random.normal(size=AUTHORS)
    logs = (
        random.normal(size=DAYS)[days]
        + of_authors[authors]
        + np.where(hours < 12, hour_size, -hour_size)
        + 0.3 * random.normal(size=len(days))
    )
    rows = EffectRows(
        logs,
        random.uniform(0.5, 1.5, len(days)),
        hours.astype(np.int8),
        authors + 1,
        np.array([f"{day}" for day in days]),
        np.array([f"{place // 20}" for place in range(len(days))]),
    )
    return rows, of_authors


def test_what_was_planted_is_found_whatever_the_level_of_a_day() -> None:
    rows, of_authors = planted(0.5, 0.3)
    effects, added = fit_effects(rows, np.zeros(len(rows.logs)), PENALTIES)
    assert effects.keys.tolist() == [*range(1, AUTHORS + 1)]
    found = effects.authors[:-1]
    np.testing.assert_allclose(found - found.mean(), of_authors - of_authors.mean(), atol=0.12)
    # Some 50 rows of an hour, beside a penalty of 10, keep five sixths of 0.6.
    assert effects.hours[:12].mean() - effects.hours[12:24].mean() == pytest.approx(0.5, abs=0.05)
    assert (effects.hours[-1], effects.authors[-1]) == (0, 0)
    assert np.corrcoef(added, effects.lift(rows.hours, rows.authors))[0, 1] > 0.98


def test_it_is_the_least_squares_of_a_direct_solution() -> None:
    rows, _ = planted(0.5, 0.3)
    one_penalty = EffectPenalties((10.0,), (3.0,))
    effects, _ = fit_effects(rows, np.zeros(len(rows.logs)), one_penalty)
    columns = np.column_stack(
        [
            np.eye(24)[rows.hours],
            np.eye(AUTHORS)[rows.authors - 1],
            np.eye(DAYS)[np.array(rows.days, dtype=np.int64)],
        ]
    )
    penalty = np.diag([*[10.0] * 24, *[3.0] * AUTHORS, *[1e-9] * DAYS])
    weighted = rows.weights[:, None] * columns
    solved = np.linalg.solve(columns.T @ weighted + penalty, weighted.T @ rows.logs)
    # The common level of all authors and days is found slowly, and says nothing of any of them.
    for found, exact in (
        (effects.hours[:-1], solved[:24]),
        (effects.authors[:-1], solved[24 : 24 + AUTHORS]),
    ):
        np.testing.assert_allclose(found - found.mean(), exact - exact.mean(), atol=1e-4)
        assert found.mean() == pytest.approx(exact.mean(), abs=0.01)


def test_a_row_is_not_told_by_its_own_group() -> None:
    rows, _ = planted(0.5, 0.3)
    _, added = fit_effects(rows, np.zeros(len(rows.logs)), EffectPenalties((10.0,), (1.0,)))
    # Half of a day: the other half is moved against it.
    inside = rows.groups == "7"
    other = replace(rows, logs=np.where(inside, rows.logs + 5.0, rows.logs))
    _, again = fit_effects(other, np.zeros(len(rows.logs)), EffectPenalties((10.0,), (1.0,)))
    np.testing.assert_array_equal(again[inside], added[inside])
    assert (again != added).any()


def test_noise_has_no_effect_or_a_small_one() -> None:
    rows, _ = planted(0.0, 0.0)
    effects, added = fit_effects(rows, np.zeros(len(rows.logs)), PENALTIES)
    assert np.abs(effects.authors).max(initial=0) < 0.06
    assert np.abs(effects.hours).max() < 0.1
    assert np.abs(added).max() < 0.15


def test_an_infinite_penalty_keeps_no_author_and_no_hour() -> None:
    rows, _ = planted(0.5, 0.3)
    effects, added = fit_effects(rows, np.zeros(len(rows.logs)), EffectPenalties((INF,), (INF,)))
    assert len(effects.keys) == 0
    assert not effects.hours.any()
    assert not added.any()


def test_unknown_authors_and_hours_add_nothing() -> None:
    rows, _ = planted(0.5, 0.3)
    unknown = np.arange(len(rows.logs)) % 3 == 0
    rows = replace(
        rows,
        hours=np.where(unknown, UNKNOWN_HOUR, rows.hours).astype(np.int8),
        authors=np.where(unknown, UNKNOWN_AUTHOR, rows.authors),
    )
    effects, added = fit_effects(rows, np.zeros(len(rows.logs)), PENALTIES)
    assert UNKNOWN_AUTHOR not in effects.keys.tolist()
    assert not added[unknown].any()
    assert added[~unknown].any()


def test_what_the_lift_of_the_text_explains_is_not_the_authors() -> None:
    rows, of_authors = planted(0.5, 0.0)
    lifts = of_authors[rows.authors - 1]
    effects, _ = fit_effects(rows, lifts, PENALTIES)
    assert np.abs(effects.authors).max(initial=0) < 0.08
