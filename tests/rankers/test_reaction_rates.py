"""Probabilities of reactions: calibrated in the simulation, and believed of strangers with care."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from feedmill.events.engagement import Engagement
from feedmill.events.rates import BASES, RATES, rate_value
from feedmill.features.counters import KIND_INDEX, LONG_DWELL_MS, Counters, update
from feedmill.rankers.reaction_rates import believed, rate_steps
from feedmill.simulation.audience import Audience
from feedmill.simulation.demo import DemoPosts
from feedmill.simulation.post_writer import COMMUNITIES

# Of the base, the largest error that counts as calibrated.
MOST = 0.15


def simulated_rates() -> dict[str, float]:
    """What the simulated audience does, of its impressions."""
    done: Counter[str] = Counter()
    for seed in range(3):
        rng = np.random.default_rng(seed)
        posts, audience = DemoPosts("r", rng), Audience("r", len(COMMUNITIES), rng)
        for step in range(12_000):
            if step % 20 == 0:
                audience.publish(posts.post(step // 20)[1], step / 2)
            for one in audience.visit(step / 2):
                event = one.event
                assert isinstance(event, Engagement)
                if event.kind != "dwell" or (event.dwell_ms or 0) >= LONG_DWELL_MS:
                    done[event.kind] += 1
    return {kind: done[kind] / done["impression"] for kind in RATES}


def test_the_contract_says_once_what_a_missing_signal_counts_as() -> None:
    """With the bases, so that anybody can compute a score."""
    contract = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text("utf-8")
    assert contract.count("counts as 0") == 1
    after = contract.partition("counts as 0")[2][:300]
    found = [float(number) for number in re.findall(r"0\.\d+", after)]
    assert [float(np.float32(number)) for number in found] == [*BASES.values()]


def test_before_any_impression_the_values_are_the_rates_of_the_simulated_audience() -> None:
    for kind, true in simulated_rates().items():
        value = rate_value(rate_steps(kind, Counters(), RATES[kind]))
        assert value == pytest.approx(true, abs=MOST * true), kind


@pytest.mark.parametrize("kind", RATES)
@pytest.mark.parametrize("shown", [100, 1_000])
def test_after_impressions_values_are_as_probable_as_they_say(kind: str, shown: int) -> None:
    """Also of the posts that reaction hits most: the upper fifth, and the rest."""
    base, strength = RATES[kind].base, RATES[kind].strength
    rng = np.random.default_rng(7)
    true = rng.beta(base * strength, (1 - base) * strength, 20_000)
    values = []
    for count in rng.binomial(shown, true).tolist():
        counters = Counters()
        counters.sums[KIND_INDEX["impression"]] = float(shown)
        counters.sums[KIND_INDEX[kind]] = float(count)
        values.append(rate_value(rate_steps(kind, counters, RATES[kind])))
    found = np.array(values)
    assert abs(found.mean() - true.mean()) < MOST * base
    upper = found >= np.quantile(found, 0.8)
    for part in (upper, ~upper):
        assert abs(found[part].mean() - true[part].mean()) < MOST * base


def test_a_value_changes_with_few_engagements() -> None:
    counters, values = Counters(), set()
    for i in range(2_000):
        update(counters, "impression", i)
        values.add(rate_steps("reply", counters, RATES["reply"]))
    assert len(values) < 120


def test_impressions_of_strangers_who_are_not_believed_do_not_lower_a_rate() -> None:
    """They are taken from the strangers' alone: complaints weigh no more than without them."""

    def report(regulars: int, reports: int, bots: int, *, shown_to: int = 0) -> int:
        found = Counters()
        sums = {"impression": regulars + bots + shown_to, "regular impression": regulars}
        for kind, count in {**sums, "report": reports, "stranger report": bots}.items():
            found.sums[KIND_INDEX[kind]] = float(count)
        return rate_steps("report", found, RATES["report"])

    assert report(300, 30, 240) == report(300, 30, 0)
    assert report(300, 0, 240, shown_to=50) == report(300, 0, 0, shown_to=50)
    assert report(300, 30, 10_000) == report(300, 30, 0)


def test_half_of_all_strangers_are_not_believed_nor_more_than_regulars_make_of_them() -> None:
    assert believed(30, 300, 0, 0) == 24
    assert believed(300, 300, 0, 0) == believed(150, 300, 0, 0) == believed(0, 0, 0, 0) == 0
    assert believed(5, 0, 0, 0) == 0
    # A hundred regulars saw it and none complained: three of three hundred strangers count.
    assert believed(30, 300, 0, 100) == pytest.approx(300 / 101)
    assert believed(30, 300, 10, 100) == 24
