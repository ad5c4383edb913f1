"""Which streams of values raise an alarm, within how many events, and which none."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from feedmill.streams.kafka.topic_table import HOUR_MS
from feedmill.streams.watch.model_watch import LEAST_VALUES, SLICE, Kind, ShiftDetector, ValueWatch

Values = npt.NDArray[np.float64]
# Gives so many values of a time in hours.
Draw = Callable[[np.random.Generator, float, int], Values]
AN_HOUR = 4000
NOON = 60.0  # of the third day
RANDOM = np.random.default_rng(1).random(50_000)


def cycle(hours: float) -> float:
    """Half as much again at 6 o'clock, half at 18."""
    return float(1 + 0.5 * np.sin(2 * np.pi * hours / 24))


def run(
    watch: ValueWatch,
    draw: Draw,
    hours: tuple[int, int],
    seed: int = 1,
    rate: Callable[[float], float] = lambda _: 1.0,
) -> int | None:
    """Feed values in order; return after how many the alarm came, None without one."""
    random, taken, began = np.random.default_rng(seed), 0, watch.alarms
    for hour in range(*hours):
        count = int(AN_HOUR * rate(hour))
        for start in range(0, count, SLICE):
            at = hour + start / count
            watch.update_many(draw(random, at, SLICE).tolist(), int(at * HOUR_MS))
            taken += SLICE
            if watch.alarms > began:
                return taken
    return None


def scores(random: np.random.Generator, _: float, count: int) -> Values:
    return random.beta(0.5, 5, count)


def reactions(share: float) -> Draw:
    def draw(random: np.random.Generator, at: float, count: int) -> Values:
        return (random.random(count) < share * cycle(at)).astype(float)

    return draw


def halved(share: float) -> Draw:
    """Half as many reactions, as many impressions."""

    def draw(random: np.random.Generator, at: float, count: int) -> Values:
        half = share * cycle(at) / 2
        return (random.random(count) < half / (1 - half)).astype(float)

    return draw


@pytest.mark.parametrize("kind", ["score", "share"])
def test_a_million_stationary_draws_raise_no_alarm(kind: Kind) -> None:
    # The bar is one at most; it is none with this seed. The first day is learned, not watched.
    draw = scores if kind == "score" else lambda r, _, n: (r.random(n) < 0.2).astype(float)
    watch = ValueWatch(kind)
    run(watch, draw, (0, 24 + 1_000_000 // AN_HOUR))
    assert watch.alarms == 0
    assert watch.state == "stable"


@pytest.mark.parametrize("seed", range(3))
def test_a_daily_cycle_of_a_half_raises_none_in_four_days(seed: int) -> None:
    def scores_with_cycle(random: np.random.Generator, at: float, count: int) -> Values:
        return random.beta(2, 5, count) * cycle(at) * 2 / 3

    streams: list[tuple[Kind, Draw]] = [("score", scores_with_cycle), ("share", reactions(0.2))]
    for kind, draw in streams:
        watch = ValueWatch(kind)
        # Four days after the first, which is learned; traffic has the cycle too.
        run(watch, draw, (0, 24 * 5), seed, rate=cycle)
        assert watch.alarms == 0


@pytest.mark.parametrize("seed", range(5))
def test_engagement_halved_at_noon_raises_an_alarm_within_3000_events(seed: int) -> None:
    watch = ValueWatch("share")
    assert run(watch, reactions(0.2), (0, int(NOON)), seed, rate=cycle) is None
    taken = run(watch, halved(0.2), (int(NOON), int(NOON) + 2), seed, rate=cycle)
    assert taken is not None
    assert taken <= 3000
    assert "earlier days 0." in watch.reason()


def test_an_alarm_ends_when_values_are_as_before() -> None:
    watch = ValueWatch("share")
    run(watch, reactions(0.2), (0, 60))
    run(watch, halved(0.2), (60, 62))
    assert watch.state == "drift"
    run(watch, reactions(0.2), (62, 65))
    assert (watch.state, watch.alarms) == ("stable", 1)


def test_scores_that_all_move_raise_an_alarm_within_500_events() -> None:
    watch = ValueWatch("score")
    run(watch, scores, (0, 30))
    taken = run(watch, lambda r, _, n: r.beta(1, 5, n), (30, 32))
    assert taken is not None
    assert taken <= 500


def test_scores_at_both_ends_raise_an_alarm_though_their_mean_rank_is_the_same() -> None:
    watch = ValueWatch("score")
    run(watch, lambda r, _, n: r.beta(5, 5, n), (0, 30))
    taken = run(watch, lambda r, _, n: r.beta(1, 1, n), (30, 32))
    assert taken is not None
    # The index is looked at once an hour has enough values.
    assert taken == LEAST_VALUES
    assert abs(watch.shift) < 0.05


def test_failures_of_one_post_in_fifty_raise_an_alarm_where_there_were_none() -> None:
    watch = ValueWatch("share")
    run(watch, lambda _r, _t, n: np.zeros(n), (0, 30))
    taken = run(watch, lambda r, _, n: (r.random(n) < 0.02).astype(float), (30, 32))
    assert taken is not None
    assert taken <= 2000


def test_an_hour_of_which_too_little_is_known_is_learned() -> None:
    watch = ValueWatch("score")
    watch.update_many([0.1] * (LEAST_VALUES - 1), 0)
    watch.update_many([0.9] * 2000, 24 * HOUR_MS)
    assert watch.state == "learning"
    assert watch.reason().startswith("999 of 1000 values")


def test_what_was_saved_goes_on_where_it_ended() -> None:
    watch, whole = ValueWatch("share"), ValueWatch("share")
    run(watch, reactions(0.2), (0, 40))
    run(whole, reactions(0.2), (0, 40))
    saved = ValueWatch("share", watch.saved())
    assert (saved.state, saved.values) == ("stable", whole.values)
    for one in (saved, whole):
        run(one, halved(0.2), (40, 44), seed=9)
    assert saved.state == whole.state == "drift"


@pytest.mark.parametrize(
    ("ranks", "variance", "reference", "is_certain"),
    [
        (RANDOM, 1 / 12, 5000, False),
        # The window forgets what came before a change.
        ([*RANDOM, *(0.3 + 0.7 * RANDOM[:2000])], 1 / 12, 5000, True),
        # Few values, or no more than the error of the reference.
        ([1.0] * 99, 1 / 12, 5000, False),
        (0.05 + 0.95 * RANDOM, 1 / 12, 1e6, True),
        (0.05 + 0.95 * RANDOM, 1 / 12, 1000, False),
        # One rare event, where none among 5000 before says how they vary.
        ([0.5] * 99 + [1.0], 0.0, 5000, False),
        ([0.5] * 99 + [1.0] * 300, 0.0, 5000, True),
    ],
)
def test_a_shift_of_ranks_is_certain_where_chance_makes_none(
    ranks: list[float], variance: float, reference: float, *, is_certain: bool
) -> None:
    detector = ShiftDetector()
    assert not detector.is_certain(variance, reference)
    detector.update_many(ranks)
    assert detector.is_certain(variance, reference) is is_certain


A_DAY = 2000


def run_tail(watch: ValueWatch, share: Draw, hours: tuple[int, int], seed: int) -> int | None:
    """Feed a tail of `A_DAY` posts a day, as `run`, a few at a time."""
    random, taken, began = np.random.default_rng(seed), 0, watch.alarms
    for hour in range(*hours):
        for start in range(0, int(A_DAY / 24 * cycle(hour)), 10):
            watch.update_many(share(random, hour + start / 1000, 10).tolist(), hour * HOUR_MS)
            taken += 10
            if watch.alarms > began:
                return taken
    return None


@pytest.mark.parametrize(("share", "most"), [(0.05, 3000), (0.18, 500)])
@pytest.mark.parametrize("begins", [24 * 8 + 3, 24 * 8 + 20])
def test_a_tail_of_few_posts_a_day_raises_an_alarm_wherever_the_day_is(
    share: float, most: int, begins: int
) -> None:
    """Figures of many seeds: docs/decisions/drift.md."""
    late = 0
    for seed in range(10):
        watch = ValueWatch("tail")
        assert run_tail(watch, reactions(0.01), (5, begins), seed) is None
        taken = run_tail(watch, reactions(share), (begins, begins + 72), seed + 100)
        late += taken is None or taken > most
    assert late <= 1


def test_cycles_of_tails_raise_no_alarm_in_twelve_days() -> None:
    for seed in range(8):
        watch = ValueWatch("tail")
        run_tail(watch, reactions(0.02), (seed, 24 * 12), seed)
        assert (watch.alarms, watch.state) == (0, "stable")


def test_a_tail_learns_a_whole_day_and_keeps_it() -> None:
    watch = ValueWatch("tail")
    run_tail(watch, reactions(0.02), (5, 47), 1)
    assert watch.reason().endswith("of 1000 values of earlier days")
    run_tail(watch, reactions(0.02), (47, 52), 2)
    again = ValueWatch("tail", watch.saved())
    assert (again.state, watch.state) == ("stable", "stable")
    assert again.saved() == watch.saved()
