from typing import Any

import pytest

from feedmill.events.errors import UsageError
from feedmill.simulation.replay.options import ReplayOptions


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"rate": -1.0}, "rate: expected"),
        ({"speed": 0.0}, "speed: expected"),
        ({"speed": float("nan")}, "speed: expected"),
        ({"run": "a b"}, "run: expected"),
        ({"strict": True}, "work on files only"),
        ({"loop": True}, "--loop works on the presets"),
    ],
)
def test_impossible_options_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        ReplayOptions("demo", **given)
