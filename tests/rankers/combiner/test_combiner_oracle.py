"""The combiner against a naive oracle: dicts and sorting, written from the contract alone."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders.drawn_world import World


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
@given(st.lists(st.integers(0, 1_000_000), max_size=120))
def test_redis_shows_what_the_contract_says(seeds: list[int]) -> None:
    World().run_all(seeds)


@pytest.mark.parametrize("seed", range(6))
def test_long_runs_show_it(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedmill.rankers.combiner.overrides._SLICE_ROWS", 3)
    World().run_all(Random(seed).choices(range(1_000_000_000), k=1200))
