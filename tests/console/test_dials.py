"""The sliders say what the address and the settings say."""

import pytest

from feedmill.console.dials import field_of, gate_dials, given_values, weight_dials, words_of
from feedmill.events.settings import Settings

SETTINGS = Settings()


def test_each_weight_has_a_dial_with_a_mark_at_the_value_in_force() -> None:
    dials = {one.name: one for one in weight_dials(SETTINGS, "global", {"engagement": "0.9"})}
    assert dials["engagement"].given == "0.9" and dials["engagement"].now == "0.5"
    assert dials["costs.report"].now == "18" and dials["reply"].now == "0"
    assert dials["quality"].share("0.5") == 0.5
    half_life = dials["half_life_hours"]
    # By doublings from one hour to thirty days, and then to none.
    assert half_life.share("1") == 0 and half_life.share("") == 1
    assert 0.95 < half_life.share("720") < 1
    assert half_life.share("24") - half_life.share("12") == pytest.approx(half_life.share("2"))


def test_only_what_differs_is_asked_for() -> None:
    query = {"engagement": "0.5", "half_life_hours": "", "spam.hide_at": "0.7", "other": "1"}
    dials = [*weight_dials(SETTINGS, "global", query)]
    dials += [one for some in gate_dials(SETTINGS, "global", query).values() for one in some]
    given = given_values(query, dials)
    assert words_of(given) == ["half_life_hours=null", "spam.hide_at=0.7"]


def test_a_refusal_stands_beside_its_field() -> None:
    given = {"costs.report": "-3", "quality": "x"}
    assert field_of("Expected `float` >= 0.0 - at `$.value.costs.report`", given) == "costs.report"
    assert field_of("quality: expected a number, got 'x'", given) == "quality"
    assert field_of("Expected at least one weight above 0 - at `$.value`", given) == ""
