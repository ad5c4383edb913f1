"""The filters in a worker: rules, lists, campaigns and the guard, without Kafka."""

import dataclasses
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from builders.events import NOW_MS
from builders.fake_log import FakeLog, KeptWriter
from builders.lists import post_list
from builders.records import StoredRecord, record
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal
from feedmill.features.post_batch import PostBatch
from feedmill.filters.lists import ListSet
from feedmill.models.text_model import Scores, TextModel
from feedmill.streams.filters import filter_history, filters
from feedmill.streams.filters.filters import FilterStep
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.scoring import text_models
from feedmill.streams.settings.clock import LogClock
from feedmill.streams.settings.environment import Environment
from feedmill.streams.worker.decoding import decode_work
from feedmill.streams.worker.step import StepContext

LATER_MS = 4_000_000_000_000


class Fixed:
    """A model that says 0.8 of everything, and fails on `broken`."""

    name, version = "fixed", "1"

    def score_many(self, posts: Sequence[Post]) -> Scores:
        if any(one.text == "broken" for one in posts):
            raise ValueError("broken")
        return np.full(len(posts), 0.8)

    def score_batch(self, batch: PostBatch) -> Scores:
        return self.score_many(batch.posts)


def step_in_memory(monkeypatch: pytest.MonkeyPatch, rules: bytes | None) -> FilterStep:
    """A filter that owns the only partition of `posts`, nothing before it."""
    for module in (filters, text_models):
        monkeypatch.setattr(module, "LogConsumer", lambda *_, **__: FakeLog({}))
    step = FilterStep("spam", lambda: cast(TextModel, Fixed()), remembers=True)
    connection: Any = SimpleNamespace(environment=Environment())
    step.start(StepContext(connection, LogClock(), Metrics("spam", "one"), 1))
    step.settings_changed(Settings().fold(b"rules/spam", rules, 41))
    step.on_assigned(AssignmentChange(1, gained=(0,)))
    for _ in range(20):
        step.poll(KeptWriter())
    assert step.ready_for(0)
    return step


def said_of(
    step: FilterStep, events: list[tuple[str, Post | None]], partitions: int = 1, since: int = 0
) -> dict[str, Signal | None]:
    records = [
        record(key, event, offset=i, timestamp=NOW_MS + i)
        for i, (key, event) in enumerate(events, since)
    ]
    batch = RecordBatch(TopicPartition("posts", 0), cast(Any, records))
    work = decode_work([batch], [], partitions=partitions, epoch=1, now_ms=5)
    step.apply(work, KeptWriter())
    return {one.post_id: one.signal for one in work.signals}


def test_rules_decide_last_and_their_version_is_the_revision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = {"r": {"verdict": "allow", "phrases": ["shoes", "broken"]}}
    step = step_in_memory(monkeypatch, json.dumps({"value": value}).encode())
    copy = "Our new shop has wonderful shoes for everyone who comes today, they cost little {}"
    events = [(f"c{i}", Post(f"c{i}", f"a{i}", NOW_MS, copy.format(i))) for i in range(12)]
    events += [
        ("b", Post("b", "a", NOW_MS, "broken")),
        ("o", Post("o", "a", NOW_MS, "something else")),
    ]
    found = said_of(step, [*events, ("c0", None)])
    assert found.pop("c0") is None
    signals = {key: signal for key, signal in found.items() if signal is not None}
    assert all(one.revision == 42 for one in signals.values())
    assert signals["c11"].value == signals["b"].value == 0.0
    # What holds without the rule is kept: the campaign's value, the model's failure.
    overruled = signals["c11"].overruled, signals["b"].overruled
    assert overruled[0] is not None
    assert overruled[0].value is not None
    assert overruled[0].value > 0.9
    assert (overruled[0].reason or "").startswith("copy of 11 posts")
    assert overruled[1] is not None
    assert overruled[1].error == "ValueError: broken"
    assert signals["o"].value == pytest.approx(0.8)
    assert signals["o"].model == "fixed"


def test_a_list_decides_as_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_in_memory(monkeypatch, None)
    bad = post_list("authors", ["ann"])
    step.swap_lists(ListSet([bad]), 7)
    events = [
        (key, Post(key, author, NOW_MS, "tea")) for key, author in (("p", "ann"), ("q", "bob"))
    ]
    signals = said_of(step, list(events))
    assert signals["p"] is not None
    assert signals["q"] is not None
    assert (signals["p"].model, signals["p"].version, signals["p"].value) == ("rule", bad.label, 1)
    # The revision orders rules alone.
    assert (signals["p"].revision, signals["q"].revision) == (42, 42)
    assert signals["p"].overruled is not None
    assert (signals["p"].overruled.model, signals["q"].model) == ("fixed", "fixed")


def test_a_filter_looks_back_only_when_all_lists_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_in_memory(monkeypatch, None)
    step.swap_lists(ListSet([post_list("authors", ["ann"])]), 7)
    complete = [False]
    step.context = dataclasses.replace(step.context, lists_complete=lambda: complete[0])
    writer = KeptWriter()
    for _ in range(5):
        step.background(writer, 1.0)
    assert writer.notes == {}
    complete[0] = True
    for _ in range(20):
        step.background(writer, 1.0)
    assert writer.notes[0, "spam.rules"] == "41 7"


def test_posts_of_others_wait_for_own_ones_that_are_older(monkeypatch: pytest.MonkeyPatch) -> None:
    copy = "Our new shop has wonderful shoes for everyone who comes today, they cost little {}"
    posts = [Post(f"c{i}", f"a{i}", NOW_MS, copy.format(i)) for i in range(30)]
    ids = [partition_of(post.post_id.encode(), 2) for post in posts]
    own = [post for post, at in zip(posts, ids, strict=True) if at == 0]
    others = [post for post, at in zip(posts, ids, strict=True) if at == 1]
    log = FakeLog({TopicPartition("posts", 1): []})
    monkeypatch.setattr(filters, "LogConsumer", lambda *_, **__: log)
    step = FilterStep("spam", lambda: cast(TextModel, Fixed()), remembers=True)
    connection: Any = SimpleNamespace(environment=Environment())
    is_live = [False]
    context = StepContext(connection, LogClock(), Metrics("spam", "one"), 2)
    step.start(dataclasses.replace(context, is_live=lambda: is_live[0]))
    step.settings_changed(Settings())
    step.on_assigned(AssignmentChange(1, gained=(0,)))
    for _ in range(20):
        step.poll(KeptWriter())
    assert step.ready_for(0)
    log.topics[TopicPartition("posts", 1)] += [
        record(post.post_id, post, offset=i, timestamp=NOW_MS + i) for i, post in enumerate(others)
    ]
    step.poll(KeptWriter())
    step.background(KeptWriter(), 1.0)
    first = said_of(step, [(own[0].post_id, own[0])], partitions=2)[own[0].post_id]
    assert first is not None
    assert first.reason is None
    is_live[0] = True
    monkeypatch.setattr(filter_history, "_IDLE_S", -1.0)
    step.background(KeptWriter(), 1.0)
    later = said_of(step, [(own[1].post_id, own[1])], partitions=2, since=1)[own[1].post_id]
    assert later is not None
    assert (later.reason or "").startswith(f"copy of {len(others) + 1} posts")


class Later(Fixed):
    """Another version, which says 0.1; 0.99 of the posts of one community."""

    version = "2"

    def score_many(self, posts: Sequence[Post]) -> Scores:
        return np.array([0.99 if one.communities else 0.1 for one in posts])


def test_after_a_release_only_what_the_model_said_is_said_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topics: dict[TopicPartition, list[StoredRecord]] = {}
    for module in (filters, text_models):
        monkeypatch.setattr(module, "LogConsumer", lambda *_, **__: FakeLog(topics))
    step = FilterStep("spam", lambda: cast(TextModel, Fixed()), remembers=True)
    environment = Environment(rescore_rate=1_000_000, flagged_cap=0.5)
    connection: Any = SimpleNamespace(environment=environment)
    step.start(StepContext(connection, LogClock(), Metrics("spam", "one"), 1))
    rules = {"r": {"verdict": "hide", "phrases": ["something"]}}
    step.settings_changed(Settings().fold(b"rules/spam", json.dumps({"value": rules}).encode(), 41))
    step.on_assigned(AssignmentChange(1, gained=(0,)))
    for _ in range(20):
        step.poll(KeptWriter())
    copy = "Our new shop has wonderful shoes for everyone who comes today, they cost little {}"
    posts = [Post(f"c{i}", f"a{i}", NOW_MS, copy.format(i)) for i in range(12)]
    posts += [Post("o", "a", NOW_MS, "something else"), Post("p", "a", NOW_MS, "a plain post")]
    posts += [
        Post(f"x{i}", f"b{i}", NOW_MS, f"{i} of many", communities=("x",)) for i in range(300)
    ]
    events: list[tuple[str, Post | None]] = [(one.post_id, one) for one in posts]
    first = said_of(step, events)
    topics[TopicPartition("posts", 0)] = [
        record(key, event, offset=i, timestamp=LATER_MS) for i, (key, event) in enumerate(events)
    ]
    topics[TopicPartition("signals.spam", 0)] = [
        record(key, signal, offset=i, timestamp=LATER_MS)
        for i, (key, signal) in enumerate(first.items())
    ]
    step.swap(cast(TextModel, Later()))
    writer = KeptWriter()
    for _ in range(500):
        step.background(writer, 1.0)
    assert writer.notes[0, "scored.spam"] == "2"
    work = decode_work([], [], partitions=1, epoch=1, now_ms=5)
    assert step.poll(writer)
    step.apply(work, writer)
    again = {one.post_id: one.signal for one in work.signals if one.signal is not None}
    assert again.keys() == first.keys()
    assert {(one.overruled or one).version for one in again.values()} == {"2"}
    # Campaign and rule decide as before; what they overrule is new.
    campaign = first["c11"]
    assert campaign is not None
    assert (again["c11"].value, again["c11"].reason) == (campaign.value, campaign.reason)
    assert again["o"].overruled is not None
    assert again["o"].value == 1.0
    assert again["o"].overruled.value == pytest.approx(0.1)
    assert again["p"].value == pytest.approx(0.1)
    # A version that would hide a whole community is held back, as it is for new posts.
    held = [one for one in again.values() if (one.reason or "").startswith("capped: community:x")]
    assert len(held) == 100
    assert all(one.value is not None and one.value < 0.9 for one in held)
