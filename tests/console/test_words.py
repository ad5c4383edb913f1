"""What a bar shows of a score."""

import pytest

from feedmill.console.words import dom_id, number, parts_of_score, share_parts, shares, shares_of

WEIGHTS = {"quality": 0.5, "engagement": 0.5, "scale": {"quality": 1, "engagement": 36}}


def test_a_bar_has_each_objective_and_what_costs_take() -> None:
    weights = {**WEIGHTS, "costs": {"report": 2.0}}
    parts = parts_of_score(weights, {"quality": 0.9, "engagement": 0.025, "report": 0.5})
    assert [part.name for part in parts] == ["quality", "engagement", "costs"]
    # A cost of one doubling takes half of the bar.
    assert [part.width for part in parts] == pytest.approx([0.25, 0.25, 0.5])
    assert parts[-1].at + parts[-1].width == pytest.approx(1)
    assert shares(parts) == "quality 25%, engagement 25%, costs 50%"


def test_without_values_a_bar_is_empty() -> None:
    assert [part.width for part in parts_of_score(WEIGHTS, {"quality": None})] == [0, 0]
    assert shares_of(WEIGHTS, []) == {}


def test_shares_are_of_all_posts_together() -> None:
    many = [{"quality": 0.5, "engagement": 0.0}, {"quality": 0.0, "engagement": 0.5 / 12}]
    found = shares_of(WEIGHTS, many)
    assert found == pytest.approx({"quality": 0.25, "engagement": 0.75})
    assert [part.at for part in share_parts(found)] == pytest.approx([0, 0.25])


def test_ids_of_elements_and_numbers_are_plain() -> None:
    assert dom_id('"><script>') != dom_id("x") and dom_id('"><script>').isalnum()
    assert [number(n) for n in (None, 0.0, 1234.0, 0.12345, 12345.6)] == [
        *("-", "0", "1,234", "0.123", "12,346")
    ]
