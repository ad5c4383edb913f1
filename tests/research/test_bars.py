"""What a release must reach."""

import pytest
from bars import Bar, bar_lines

from feedmill.training.evaluation.intervals import Figure


@pytest.mark.parametrize(
    ("bar", "is_reached"),
    [
        (Bar(("a",), Figure(0.2, 0.1, 0.3), 0.15), True),
        (Bar(("a",), Figure(0.2, 0.1, 0.3), 0.15, 0.15), False),
        (Bar(("a",), Figure(0.2, 0.1, 0.3), most=0.19), False),
        (Bar(("a",), Figure(-0.2, -0.3, -0.1), high=0.0), True),
        (Bar(("a",), Figure(-0.2, -0.3, 0.1), high=0.0), False),
    ],
)
def test_a_bar_holds_where_the_value_and_the_ends_do(bar: Bar, is_reached: bool) -> None:
    assert bar.is_reached is is_reached


def test_a_bar_states_what_it_asks_for() -> None:
    bar = Bar(("a",), Figure(0, 0, 0), 0.6, 0.57)
    assert bar.stated == "≥ 0.6, lower end ≥ 0.57"


def test_missed_bars_come_first() -> None:
    bars = [Bar(("good",), Figure(1, 1, 1), 0.5), Bar(("poor",), Figure(0, 0, 0), 0.5)]
    lines = bar_lines(["what"], bars)
    assert lines[2] == "Of 2 bars 1 are missed; these come first."
    assert lines[-3].startswith("| poor | ≥ 0.5 | 0.000") and lines[-3].endswith("| **no** |")
    assert lines[-2].startswith("| good |") and lines[-2].endswith("| yes |")
