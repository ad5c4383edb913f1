"""A suggestion as it is printed."""

import numpy as np
import pytest

from builders.golden import Golden
from feedmill.cli.output import Answer, print_answer
from feedmill.cli.weights import suggestion_lines
from feedmill.operations.preview.scale_suggestion import (
    SEEN,
    UNSEEN,
    Disagreements,
    SuggestedScale,
    Suggestion,
)


def pairs(of: float) -> Disagreements:
    return Disagreements(of * np.geomspace(0.1, 10, 800), np.arange(800) % 20)


@pytest.mark.parametrize(("name", "seen"), [("fair", 20.0), ("unfair", 1.0)])
def test_shares_and_ranges_are_printed_by_kind(
    name: str, seen: float, golden: Golden, capsys: pytest.CaptureFixture[str]
) -> None:
    scale = SuggestedScale("engagement", 10.0, 35.0, {UNSEEN: pairs(60.0), SEEN: pairs(seen)})
    suggestion = Suggestion("global", 5_123, 20, "quality", (scale,))
    print_answer(Answer(suggestion, suggestion_lines(suggestion)), as_json=False)
    golden.check(f"suggestion_{name}.txt", capsys.readouterr().out)
