"""The filters in a worker: rules, campaigns, the guard and poison, without Kafka."""

from typing import Any, cast

import pytest

from builders.fake_log import KeptWriter
from builders.filter_step import NOW_MS, POSTS, SIGNALS, Filter, model
from builders.lists import post_list
from builders.records import record
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.filters.lists import ListSet
from feedmill.streams.environment import Environment
from feedmill.streams.filters import copy_history
from feedmill.streams.kafka.batches import TopicPartition

COPY = "Our new shop has wonderful shoes for everyone who comes today, they cost little {}"
COPIES = [Post(f"c{i}", f"a{i}", NOW_MS, COPY.format(i)) for i in range(30)]


def test_rules_decide_last_and_their_version_is_the_revision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Filter(monkeypatch)
    made.change_rules({"r": {"verdict": "allow", "phrases": ["shoes", "broken"]}}, 41)
    made.gain()
    assert made.step.ready_for(0)
    broken, other = Post("b", "a", NOW_MS, "broken"), Post("o", "a", NOW_MS, "something else")
    events: list[Any] = [(one.post_id, one) for one in (*COPIES[:12], broken, other)]
    found: dict[str, Any] = made.judge(*events, ("c0", None))
    assert found.pop("c0") is None
    assert all(one.revision == 42 for one in found.values())
    assert found["c11"].value == found["b"].value == 0.0
    # What holds without the rule is kept: the campaign's value, the model's failure.
    assert found["c11"].overruled.value > 0.9
    assert found["c11"].overruled.reason.startswith("copy of 11 posts")
    assert found["b"].overruled.error == "ValueError: broken"
    assert (found["o"].value, found["o"].model) == (pytest.approx(0.8), "fixed")


def test_a_filter_looks_back_only_when_all_lists_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    complete = [False]
    made = Filter(monkeypatch)
    monkeypatch.setattr(made.step.context.worker, "has_loaded_lists", lambda: complete[0])
    made.change_rules(None, 41)
    made.gain()
    made.step.swap_lists(ListSet([post_list("authors", ["ann"])]), 7)
    for _ in range(5):
        made.step.background(made.writer, 1.0)
    assert made.writer.notes == {}
    complete[0] = True
    for _ in range(20):
        made.step.background(made.writer, 1.0)
    assert made.writer.notes[POSTS, "spam.rules"] == "41 7"


def test_posts_of_others_wait_for_own_ones_that_are_older(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [partition_of(post.post_id.encode(), 2) for post in COPIES]
    own, others = [[p for p, at in zip(COPIES, ids, strict=True) if at == n] for n in (0, 1)]
    made = Filter(monkeypatch, partitions=2)
    monkeypatch.setattr(made.step.context.worker, "is_live", lambda: False)
    made.step.settings_changed(made.settings)
    made.gain()
    made.topics[TopicPartition("posts", 1)] = [
        record(post.post_id, post, offset=i, timestamp=NOW_MS + i) for i, post in enumerate(others)
    ]
    made.step.poll(KeptWriter())
    made.step.background(KeptWriter(), 1.0)
    first = made.judge((own[0].post_id, own[0]))[own[0].post_id]
    assert first is not None
    assert first.reason is None
    monkeypatch.setattr(made.step.context.worker, "is_live", lambda: True)
    monkeypatch.setattr(copy_history, "_IDLE_S", -1.0)
    made.step.background(KeptWriter(), 1.0)
    later = made.judge((own[1].post_id, own[1]), since=1)[own[1].post_id]
    assert later is not None
    assert (later.reason or "").startswith(f"copy of {len(others) + 1} posts")


def test_after_a_release_only_what_the_model_said_is_said_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = Environment(rescore_rate=1_000_000, flagged_cap=0.5)
    made = Filter(monkeypatch, environment=environment)
    rules = {"r": {"verdict": "hide", "phrases": ["something"]}}
    made.change_rules(rules, 41)
    made.gain()
    posts = [*COPIES[:12], Post("o", "a", NOW_MS, "something"), Post("p", "a", NOW_MS, "plain")]
    many = [Post(f"x{i}", f"b{i}", NOW_MS, f"{i} of many", communities=("x",)) for i in range(300)]
    events = [(one.post_id, one) for one in (*posts, *many)]
    first: dict[str, Any] = made.judge(*events)
    for topic, came in ((POSTS, events), (SIGNALS, first.items())):
        made.topics[topic] += [
            record(key, one, offset=i, timestamp=NOW_MS) for i, (key, one) in enumerate(came)
        ]
    # At the same time a rule comes for a post that the model alone had decided.
    made.change_rules({**rules, "s": {"verdict": "allow", "phrases": ["plain"]}}, 43)
    # It would hide a whole community.
    made.step.swap(model(lambda post: 0.99 if post.communities else 0.1, "2"))
    for _ in range(500):
        made.step.background(made.writer, 1.0)
    assert made.writer.notes == {(POSTS, "spam.rules"): "43", (POSTS, "scored.spam"): "2"}
    assert made.step.poll(made.writer)
    again: dict[str, Any] = made.judge()
    assert again.keys() == first.keys()
    assert {(one.overruled or one).version for one in again.values()} == {"2"}
    # Campaign and rule decide as before; what they overrule is new.
    assert (again["c11"].value, again["c11"].reason) == (first["c11"].value, first["c11"].reason)
    assert (again["o"].value, again["o"].overruled.value) == (1.0, pytest.approx(0.1))
    assert (again["p"].value, again["p"].overruled.value) == (0.0, pytest.approx(0.1))
    # A version that would hide a whole community is held back, as it is for new posts.
    held = [one for one in again.values() if (one.reason or "").startswith("capped: community:x")]
    assert len(held) == 100
    assert all(one.value < 0.9 for one in held)


def test_a_post_that_no_model_may_judge_is_an_error_and_rules_see_all_but_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Filter(monkeypatch)
    by_text = {"verdict": "hide", "phrases": ["shoes"]}
    by_author = {"verdict": "hide", "authors": ["known"]}
    made.change_rules({"by-text": by_text, "by-author": by_author}, 41)
    made.gain()
    made.poison |= {1: "judged by no model: p", 2: "judged by no model: k"}
    posts = [
        Post("a", "x", NOW_MS, "These shoes are wonderful"),
        # Whichever model got this text would raise.
        Post("p", "x", NOW_MS, "broken"),
        Post("k", "known", NOW_MS, "broken"),
        Post("e", "x", NOW_MS, "something else"),
    ]
    found: dict[str, Any] = made.judge(*((post.post_id, post) for post in posts))
    assert (found["a"].value, found["a"].error) == (1.0, None)
    assert (found["p"].value, found["p"].error) == (None, made.poison[1])
    assert (found["k"].value, found["k"].overruled.error) == (1.0, made.poison[2])
    assert (found["e"].value, found["e"].error) == (pytest.approx(0.8), None)
    assert 'feedmill_model_errors_total{instance="one",stage="spam"} 2.0' in made.metrics.text()
    # Judged again it gets the same.
    blank, records = (
        [posts[0], Post("p", "x", NOW_MS, "")],
        [record("a", 0), record("p", 0, offset=1)],
    )
    again = made.step.judge_again(cast(Any, records), blank, [None, None])
    assert [one.error for one in again] == [None, made.poison[1]]
