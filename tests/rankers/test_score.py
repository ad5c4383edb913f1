"""`score_of` and `scores_of` against the contract's formula, and each other."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from builders.events import counters_of
from feedmill.events.rates import RATES, rate_value
from feedmill.events.weights import DEFAULT_COSTS, Weights
from feedmill.rankers.reaction_rates import rate_steps
from feedmill.rankers.score import EPOCH_MS, score_of, scores_of

HOUR_MS = 3_600_000
WEIGHTS = Weights(
    objectives={"quality": 0.5, "engagement": 0.25, "novelty": 0.0},
    scale={"quality": 1.0, "engagement": 10.0, "novelty": 1.0},
    half_life_hours=24.0,
    costs={"report": 20.0, "hide": 0.0},
)


def test_two_reports_of_the_first_hundred_readers_take_at_most_a_tenth_of_a_value() -> None:
    after = list[float]()
    for reports in (0, 2):
        counters = counters_of(("impression", 100), ("report", reports))
        after.append(rate_value(rate_steps("report", counters, RATES["report"])))
    lost = DEFAULT_COSTS["report"] * (after[1] - after[0])
    assert 0 < 1 - 2.0**-lost <= 0.1


@given(
    drawn=st.lists(
        st.tuples(*[st.floats(0, 1, width=32)] * 4, st.sampled_from((1.0, 0.5, 0.125))),
        min_size=1,
        max_size=40,
    ),
    half_life_hours=st.sampled_from((24.0, 0.3, None)),
    costs=st.fixed_dictionaries(
        dict.fromkeys(("report", "hide"), st.sampled_from((0.0, 7.3, 1e4)))
    ),
)
def test_many_are_scored_as_one_is(
    drawn: list[tuple[float, ...]], half_life_hours: float | None, costs: dict[str, float]
) -> None:
    weights = replace(WEIGHTS, half_life_hours=half_life_hours, costs=costs)
    names = ("quality", "engagement", "report", "hide")
    columns = np.array(drawn).T
    values = dict(zip(names, columns[:4].astype(np.float32), strict=True))
    created_ms = EPOCH_MS + np.arange(len(drawn)) * HOUR_MS
    many = scores_of(weights, values, columns[4], created_ms)
    one_by_one = [
        score_of(weights, dict(zip(names, one[:4], strict=True)), one[4], int(at))
        for one, at in zip(drawn, created_ms, strict=True)
    ]
    assert many.tolist() == one_by_one
