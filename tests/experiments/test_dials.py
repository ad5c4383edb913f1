"""Dials: which fields can be multiplied, and where settings stand on them."""

from typing import Any

import pytest

from feedmill.events.errors import UsageError
from feedmill.events.signal import SignalNames
from feedmill.events.weights import Weights, weights_decoder
from feedmill.experiments.dials import arms_of, dials_of, pairs_text, patch_at, places, written

NAMES = SignalNames.parse("novelty:objective,grumble:cost")


def weights(**value: Any) -> Weights:
    return weights_decoder(NAMES).decode({"quality": 0.5, "engagement": 0.5, **value})


def test_without_names_all_dials_of_a_feed_are_meant_but_the_first_objective() -> None:
    found = dials_of([], weights(novelty=0.1), NAMES, "global")
    assert {one.name: one.value for one in found} == {
        "beta": 0.5,
        "novelty": 0.1,
        "costs.report": 18.0,
        "costs.hide": 4.0,
        "half_life_hours": 24.0,
    }
    assert [one.name for one in dials_of(["alpha", "report"], weights(), NAMES, "f")] == [
        "alpha",
        "costs.report",
    ]


@pytest.mark.parametrize(
    ("words", "value", "said"),
    [
        (["spam"], {}, "got 'spam' - at `$.spam`; a gate is a rule of the product, see `feedmil"),
        (["spam.hide_at"], {}, "got 'spam.hide_at' - at `$.spam.hide_at`; a gate"),
        (["max_per_author"], {}, "a cap is none, see `feedmill weights preview mine max_per_auth"),
        (["scale.beta"], {}, "weight times scale is one number: name the objective"),
        (["explore"], {}, "got 'explore' - at `$.explore`"),
        (
            ["half_live_hours"],
            {},
            "half_life_hours, hide, report, grumble), got 'half_live_hours' - at",
        ),
        (["costs.quality"], {}, "got 'costs.quality' - at `$.costs.quality`"),
        (["half_life_hours"], {"half_life_hours": None}, "got null - at `$.half_life_hours` of"),
        (
            ["grumble"],
            {},
            "got 0 - at `$.costs.grumble` of `mine`; give it one first: feedmill con",
        ),
        (["alpha"], {"quality": 0}, "got 0 - at `$.alpha`"),
        (["beta", "alpha"], {}, "got beta and alpha - at `$.quality`; only their ratio moves"),
        (["beta"], {"quality": 0}, "no dial moves it"),
    ],
)
def test_what_is_no_dial_is_refused_with_its_path_and_a_way_out(
    words: list[str], value: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        dials_of(words, weights(**value), NAMES, "mine")
    assert said in str(refused.value)


def test_a_common_factor_moves_no_place_and_a_scale_counts_as_weight() -> None:
    plain = places(written(weights(), NAMES))
    assert places(written(weights(quality=2, engagement=2), NAMES)) == plain
    more = places(written(weights(engagement=1), NAMES))
    scaled = places(written(weights(scale={"engagement": 72}), NAMES))
    assert more == scaled
    assert more["beta"] == pytest.approx(plain["beta"] + 1)
    less = places(written(weights(quality=0.25), NAMES))
    assert less["beta"] == pytest.approx(plain["beta"] + 1)
    assert "costs.grumble" not in plain


@pytest.mark.parametrize("name", ["beta", "half_life_hours", "costs.report"])
def test_a_place_is_reached_by_its_fields(name: str) -> None:
    value = written(weights(), NAMES)
    place = places(value)[name] + 1.5
    decoder = weights_decoder(NAMES)
    there = decoder.patched(weights(), patch_at(value, name, place))
    assert places(written(there, NAMES))[name] == pytest.approx(place, abs=0.01)


def test_arms_are_called_by_dial_and_value_and_shares_sum_to_the_whole() -> None:
    arms = arms_of([("beta", {"engagement": 0.125}), ("costs.report", {"costs": {"report": 9.0}})])
    assert [arm["name"] for arm in arms] == ["control", "beta-0_125", "report-9"]
    assert sum(arm["share"] for arm in arms) == 10_000
    assert pairs_text(arms[2]["weights"]) == "costs.report=9"
    assert pairs_text({"engagement": 2, "half_life_hours": None}) == "beta=2 half_life_hours=null"
