"""A filter in a worker without Kafka: its step owns partition 0 of `posts`."""

import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from builders.fake_log import FakeLog, KeptWriter, Topics
from builders.records import StoredRecord, record
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores, TextModel
from feedmill.streams.environment import Environment
from feedmill.streams.filters import filters
from feedmill.streams.filters.filters import FilterStep
from feedmill.streams.filters.post_windows import PostWindows
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.scoring import text_models
from feedmill.streams.settings.clock import LogClock
from feedmill.streams.worker.decoding import decode_work
from feedmill.streams.worker.step import StepContext, WorkBatch

# Of the last week, and more than a moment ago.
NOW_MS = LogClock().now_ms() - 60_000
POSTS, SIGNALS = TopicPartition("posts", 0), TopicPartition("signals.spam", 0)


def model(say: Callable[[Post], float], version: str = "1") -> TextModel:
    """Return a model that says of each post what a function says, or raises what it raises."""

    def score_many(posts: Sequence[Post]) -> Scores:
        return np.array([say(post) for post in posts])

    def score_batch(batch: PostBatch) -> Scores:
        return score_many(batch.posts)

    made = SimpleNamespace(
        name="fixed", version=version, score_many=score_many, score_batch=score_batch
    )
    return cast(TextModel, made)


class Filter:
    """The filter; the logs of `topics`, of which `earlier` reads for what is judged again.

    Attributes
    ----------
    poison
        By offset why a post must not be judged.
    context
        What a test changes of it holds from `start` on.
    """

    def __init__(self, patch: pytest.MonkeyPatch, *, remembers: bool = True, **more: Any) -> None:
        self.topics: Topics = {POSTS: [], SIGNALS: []}
        self.earlier, self.writer, self.settings = FakeLog(self.topics), KeptWriter(), Settings()
        self.poison: dict[int, str] = {}
        patch.setattr(filters, "LogConsumer", lambda *_, **__: FakeLog(self.topics))
        patch.setattr(text_models, "LogConsumer", lambda *_, **__: self.earlier)
        connection: Any = SimpleNamespace(environment=more.pop("environment", Environment()))
        context: dict[str, Any] = {"partitions": 1, "poisoned": {0: self.poison}, **more}
        self.metrics = Metrics("spam", "one")
        load, windows = lambda: model(self.say), PostWindows()
        self.step = FilterStep("spam", load, remembers=remembers, windows=windows)
        self.step.start(StepContext(connection, LogClock(), self.metrics, **context))

    @staticmethod
    def say(post: Post) -> float:
        """Say 0.8 of everything, and fail on `broken`."""
        if post.text == "broken":
            raise ValueError("broken")
        return 0.8

    def change_rules(self, rules: Any, offset: int) -> None:
        value = None if rules is None else json.dumps({"value": rules}).encode()
        self.settings = self.settings.fold(b"rules/spam", value, offset)
        self.step.settings_changed(self.settings)

    def gain(self, note: str | None = None, start: int = 0) -> None:
        """Have the partition, not what was there before, and wait until it is ready."""
        notes = {} if note is None else {POSTS: {"spam.rules": note}}
        change = AssignmentChange(1, (0,), (0,), starts={POSTS: start}, notes=notes)
        self.step.on_assigned(change)
        for _ in range(20):
            self.step.poll(KeptWriter())

    def judge(self, *events: tuple[str, Post | None], since: int = 0) -> dict[str, Signal | None]:
        """Judge the records of a cycle, the first with an offset; return what other steps get."""
        records = [
            record(key, event, offset=i, timestamp=NOW_MS + i)
            for i, (key, event) in enumerate(events, since)
        ]
        return {one.post_id: one.signal for one in self.judge_records(records).signals}

    def judge_records(self, records: Sequence[StoredRecord]) -> WorkBatch:
        work = decode_work(
            [RecordBatch(POSTS, cast(Any, records))] if records else [],
            [],
            partitions=self.step.context.partitions,
            now_ms=NOW_MS,
            poisoned=self.step.context.poisoned,
        )
        self.step.apply(work, self.writer)
        return work
