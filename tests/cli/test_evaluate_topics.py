"""`feedmill evaluate engagement --from-topics` on a real Kafka whose topics are new."""

import pytest

from builders.commands import CommandTopics, Run

pytestmark = pytest.mark.stack


def test_topics_without_impressions_are_a_sentence(run: Run, topics: CommandTopics) -> None:
    topics.make("config", posts=2, engagements=2, features=2)
    result = run("evaluate engagement --from-topics")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(
        "feedmill: too few impressions: expected 1,000 first impressions of 100 posts, whose"
        " reactions are all known, found 0 of 0"
    )
