"""What is said where the topics have too few impressions whose reactions are known."""

import pytest

from builders.impressions import planted_impressions
from feedmill.cli import Duration
from feedmill.cli.train_from_topics import CountedTopics, waited_less
from feedmill.events.errors import UsageError
from feedmill.operations.times import duration_text
from feedmill.streams.engagement.engagement_replay import TOO_LATE
from feedmill.training.datasets.impression_arms import check_enough

FEW = planted_impressions(10, 5, seed=1)


def test_topics_that_are_younger_than_the_wait_name_a_shorter_one() -> None:
    counted = CountedTopics(FEW, {TOO_LATE: 4_000}, 0, [], span_ms=40 * 60_000)
    with (
        pytest.raises(UsageError) as refused,
        waited_less(counted, 86_400_000),
    ):
        check_enough(counted.rows)
    assert str(refused.value).startswith("too few impressions: expected 1,000 first impressions")
    assert str(refused.value).endswith(
        "; 4,000 more came less than --wait 24h before the end: the engagements are of 40m, so"
        " give --wait 10m"
    )


def test_where_no_impression_is_too_late_another_wait_is_not_proposed() -> None:
    with (
        pytest.raises(UsageError, match=r"with --wait$"),
        waited_less(CountedTopics(FEW, {}, 0, [], 1000), 86_400_000),
    ):
        check_enough(FEW)


@pytest.mark.parametrize(
    ("ms", "text"),
    [(1000, "1s"), (119_000, "119s"), (120_000, "2m"), (86_400_000, "24h"), (7 * 86_400_000, "7d")],
)
def test_a_duration_is_written_as_it_is_read(ms: int, text: str) -> None:
    assert duration_text(ms) == text
    assert Duration().convert(text, None, None) == ms
