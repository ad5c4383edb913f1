"""The setting `readers/<feed>`: what it allows, and what is refused."""

import json
from typing import Any

import pytest

from feedmill.events.errors import BadSetting
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames

NAMES = SignalNames.parse("novelty:objective,grumble:cost")


def folded(value: Any, key: str = "readers/global") -> Settings:
    return Settings(NAMES).fold(key.encode(), json.dumps({"value": value}).encode(), 0)


def test_what_bounds_allow_counts_as_weighed() -> None:
    before = Settings(NAMES).weighed
    value = {
        "weights": {"reply": [0, 2], "novelty": [0, 1], "share": [0, 0]},
        "costs": {"grumble": [0, 3]},
    }
    settings = folded(value)
    assert settings.weighed == before | {"reply", "novelty", "grumble"}
    assert settings.readers["global"].weights["reply"] == (0, 2)
    removed = settings.fold(b"readers/global", b"", 1)
    assert (removed.readers, removed.weighed) == ({}, before)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"weights": {"quality": [2, 0]}}, "got [2, 0] - at `$.value.weights.quality`"),
        ({"weights": {"quality": [-1, 0]}}, "from 0 to 1e+06, got [-1, 0]"),
        ({"weights": {"quality": [0, 1, 2]}}, "$.value.weights"),
        ({"weights": {"spam": [0, 1]}}, "got 'spam' - at `$.value.weights`"),
        ({"weights": {"hide": [0, 1]}}, "got 'hide' - at `$.value.weights`"),
        ({"costs": {"quality": [0, 1]}}, "got 'quality' - at `$.value.costs`"),
        ({"costs": {"hide": [0, 20_000]}}, "from 0 to 10000"),
        ({"half_life_hours": [0, 5]}, "from 0.1 to 87600, got [0, 5]"),
        ({"adjust": [-100, 0]}, "from -64 to 64"),
        ({"adjusts": [0, 0]}, "did you mean `adjust`?"),
    ],
)
def test_wrong_bounds_are_refused(value: Any, said: str) -> None:
    with pytest.raises(BadSetting) as refused:
        folded(value)
    assert said in str(refused.value)


@pytest.mark.parametrize("key", ["readers", "readers/nope", "readers/community:*", "readers/a b"])
def test_only_a_feed_that_there_is_can_be_served(key: str) -> None:
    with pytest.raises(BadSetting):
        folded({}, key)
    assert folded({}, "readers/community:py").readers.keys() == {"community:py"}
