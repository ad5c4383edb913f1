"""A post that no model may judge gets an error from a filter, and what its rules still see."""

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from builders.events import NOW_MS
from builders.fake_log import FakeLog, KeptWriter
from builders.records import record
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores, TextModel
from feedmill.streams.filters import filters
from feedmill.streams.filters.filters import FilterStep
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.settings.clock import LogClock
from feedmill.streams.settings.environment import Environment
from feedmill.streams.worker.decoding import decode_work
from feedmill.streams.worker.step import StepContext

RULES = {
    "by-text": {"verdict": "hide", "phrases": ["shoes"]},
    "by-author": {"verdict": "hide", "authors": ["known"]},
}
POISON = {1: "judged by no model: p", 2: "judged by no model: k"}


class Fixed:
    """A model that says 0.3 of everything, and may not see some texts."""

    name, version = "fixed", "1"

    def score_many(self, posts: Sequence[Post]) -> Scores:
        assert "poison" not in "".join(one.text for one in posts)
        return np.full(len(posts), 0.3)

    def score_batch(self, batch: PostBatch) -> Scores:
        return self.score_many(batch.posts)


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> FilterStep:
    """A filter that owns the only partition of `posts`, nothing before it."""
    monkeypatch.setattr(filters, "LogConsumer", lambda *_, **__: FakeLog({}))
    made = FilterStep("spam", lambda: cast(TextModel, Fixed()), remembers=True)
    connection: Any = SimpleNamespace(environment=Environment())
    context = StepContext(
        connection, LogClock(), Metrics("spam", "one"), 1, poisoned=lambda _: POISON
    )
    made.start(context)
    made.settings_changed(Settings().fold(b"rules/spam", json.dumps({"value": RULES}).encode(), 41))
    made.on_assigned(AssignmentChange(1, gained=(0,)))
    for _ in range(20):
        made.poll(KeptWriter())
    return made


def test_it_is_an_error_and_rules_see_all_but_the_text(step: FilterStep) -> None:
    posts = [
        Post("a", "x", NOW_MS, "These shoes are wonderful"),
        Post("p", "x", NOW_MS, "These shoes are poison"),
        Post("k", "known", NOW_MS, "poison"),
        Post("e", "x", NOW_MS, "something else"),
    ]
    records = [record(post.post_id, post, offset=i) for i, post in enumerate(posts)]
    batch = RecordBatch(TopicPartition("posts", 0), cast(Any, records))
    work = decode_work([batch], [], partitions=1, epoch=1, now_ms=5, poisoned=step.context.poisoned)
    step.apply(work, KeptWriter())
    found = {one.post_id: one.signal for one in work.signals}
    by_text, poison, by_author, other = (cast(Any, found[name]) for name in "apke")
    assert (by_text.value, by_text.error) == (1.0, None)
    assert (poison.value, poison.error) == (None, POISON[1])
    assert (by_author.value, by_author.overruled.error) == (1.0, POISON[2])
    assert (other.value, other.error) == (np.float32(0.3), None)
    text = step.context.metrics.text()
    assert 'feedmill_model_errors_total{instance="one",stage="spam"} 2.0' in text

    # Scored again it gets the same.
    blank = [posts[0], Post("p", "x", NOW_MS, "")]
    again = step.judge_again(records[:2], blank, [None, None])
    assert [one.error for one in again] == [None, POISON[1]]
