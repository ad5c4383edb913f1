"""What everybody got, by feed and by day, of levels that wander by themselves."""

from pathlib import Path

import numpy as np
import pytest

from builders.changed_export import CHANGED_MS, write_export
from feedmill.events.errors import UsageError
from feedmill.experiments.anytime_intervals import Values
from feedmill.experiments.export_folder import DAY_MS
from feedmill.experiments.tune_after import (
    DAYS,
    FEEDS,
    after_change,
    by_day,
    by_feed,
    daily,
    feeds_of,
)


def wandering(rng: np.random.Generator, alike: float, days: int = 2 * DAYS + 2) -> Values:
    """Logarithms of a level by day: 4 % from day to day, each like the last."""
    found = np.empty(days)
    found[0] = rng.standard_normal()
    for day in range(1, days):
        found[day] = alike * found[day - 1] + np.sqrt(1 - alike**2) * rng.standard_normal()
    return 0.04 * found


@pytest.mark.parametrize("alike", [0.0, 0.2, 0.4])
def test_without_a_change_most_intervals_by_day_have_none(alike: float) -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(400):
        levels = wandering(rng, alike)
        found.append(by_day(levels[:DAYS], levels[DAYS + 2 :]))
    assert np.mean([one.lower <= 0 <= one.upper for one in found]) >= 0.88
    # A fortnight each: 2 to 6 %.
    assert np.mean([one.upper - one.lower for one in found]) < 0.13


def test_a_change_is_found_by_day_if_it_is_large() -> None:
    rng = np.random.default_rng(2)
    levels = wandering(rng, 0.2)
    found = by_day(levels[:DAYS], levels[DAYS + 2 :] + 0.15)
    assert found.lower > 0
    assert found.p is None
    assert found.change == pytest.approx(0.16, abs=0.06)


def feeds(rng: np.random.Generator, count: int, lift: float) -> list[Values]:
    """Takes and impressions of feeds before and after; a feed's level moves by 4 %."""
    rates = np.minimum(0.1 * np.exp(0.3 * rng.standard_normal((count, 1))), 0.5)
    rates = rates * np.exp(0.04 * rng.standard_normal((count, 2)) + np.array([0.0, lift]))
    seen = rng.poisson(50_000, (count, 2))
    return [
        np.stack([rng.binomial(n, r), n]).astype(float) for n, r in zip(seen, rates, strict=True)
    ]


def test_by_feed_the_test_is_right_and_finds_what_is_there() -> None:
    rng = np.random.default_rng(3)
    false, covered, power = 0, 0, 0
    for _ in range(120):
        none = by_feed(feeds(rng, FEEDS, 0.0), feeds(rng, FEEDS, 0.0))
        false += (none.p or 0) <= 0.05
        some = by_feed(feeds(rng, FEEDS, 0.05), feeds(rng, FEEDS, 0.0))
        covered += some.lower <= np.expm1(0.05) <= some.upper
        power += (some.p or 1) <= 0.05
    assert false <= 14
    assert covered >= 106
    assert power >= 75


def test_few_feeds_are_compared_by_day_beside_those_without_the_change() -> None:
    rng = np.random.default_rng(4)

    def both(lift: float) -> tuple[Values, Values]:
        # All feeds have the same good and bad days.
        seen = np.full(DAYS, 10_000.0)
        return np.stack([seen * 0.1 * days[0], seen]), np.stack([seen * 0.1 * days[1] * lift, seen])

    days = np.exp(0.2 * rng.standard_normal((2, DAYS)))
    found = {f"f{number}": both(1.1 if number < 5 else 1.0) for number in range(10)}
    some = after_change(found, ["f0", "f1", "f2", "f3", "f4"])
    assert (some.feeds, some.others, some.p) == (5, 5, None)
    assert some.change == pytest.approx(0.1, abs=1e-6)
    alone = after_change({"f0": found["f0"]}, ["f0"])
    assert alone.upper - alone.lower > 0.1


# --- from an export ---------------------------------------------------------------------------


def test_takes_and_impressions_of_each_day_are_those_of_the_export(tmp_path: Path) -> None:
    feeds_there = ["community:a", "community:b"]
    export = write_export(tmp_path, feeds_there, ["community:a"], seen=5)
    assert feeds_of(export, "community:") == feeds_there
    found = daily(export, feeds_there, CHANGED_MS)
    for before, after in found.values():
        assert before.shape == after.shape == (2, DAYS)
        assert (before[1] == 5).all()
        assert (after[1] == 5).all()
        assert 0 < before[0].sum() < 40
    with pytest.raises(UsageError, match=r"expected 16 days after the change, 1\.0 are missing"):
        daily(export, feeds_there, CHANGED_MS + 2 * DAY_MS)
    with pytest.raises(UsageError, match="a day has none in community:c; leave these feeds out"):
        daily(export, ["community:c"], CHANGED_MS)
