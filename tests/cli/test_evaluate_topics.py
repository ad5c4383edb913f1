"""`feedmill evaluate engagement` and `quality --from-topics` on a real Kafka."""

import json

import pytest

from builders.commands import CommandTopics, Run
from builders.training_data import sentences
from builders.waiting import now_ms

pytestmark = pytest.mark.stack


def test_topics_without_impressions_are_a_sentence(run: Run, topics: CommandTopics) -> None:
    topics.make("config", posts=2, engagements=2, features=2)
    result = run("evaluate engagement --from-topics")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(
        "feedmill: too few impressions: expected 1,000 first impressions of 100 posts, whose"
        " reactions are all known, found 0 of 0"
    )


def test_quality_is_measured_on_the_labels_of_the_topic(run: Run, topics: CommandTopics) -> None:
    topics.make("config", posts=2, labels=2)
    for n, text in enumerate(sentences(60, 4)):
        at_ms = now_ms()
        post = {"post_id": f"p{n}", "author_id": f"a{n}", "created_at_ms": at_ms, "text": text}
        topics.send("posts", f"p{n}", post, n % 2)
        label = {"post_id": f"p{n}", "target": "quality", "value": n % 3 / 2}
        topics.send("labels", f"p{n}", {**label, "source": "ann", "at_ms": at_ms + 60_000}, n % 2)
    result = run("evaluate quality --from-topics --json")
    assert result.exit_code == 0, result.stderr
    (report,) = json.loads(result.stdout)
    assert (report["source"], report["rows"], report["learned"]) == ("labels", 60, 0)
    low, high = report["versions"][0]["order"][1:]
    assert -1 <= low < high <= 1
    both = run("evaluate quality --from-topics --data x.csv")
    assert "quality is evaluated with --data or --from-topics" in both.stderr
