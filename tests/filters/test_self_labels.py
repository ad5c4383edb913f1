import pytest

from builders.events import post
from feedmill.filters.registry import load

TEXT = "We walked along the river this morning and saw a heron."


def value(name: str, *labels: str) -> float:
    return float(load(name).score_many([post(text=TEXT, self_labels=labels or None)])[0])


@pytest.mark.parametrize("label", ["porn", "NSFW", "graphic-media"])
def test_an_author_who_says_adult_is_believed_by_nsfw_alone(label: str) -> None:
    assert value("nsfw", "holiday", label) >= 0.9
    assert value("spam", label) == value("spam")


def test_other_labels_say_nothing() -> None:
    assert value("nsfw", "holiday") == value("nsfw") < 0.6
