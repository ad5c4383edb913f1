"""Labels are joined with the version of a post that their raters saw."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from builders.events import NOW_MS
from builders.records import StoredRecord, record
from builders.training_data import sentences
from feedmill.cli.main import main
from feedmill.models.artifact import read_card
from feedmill.training.label_join import LabelJoin


def label(
    post_id: str, value: float, at_ms: int, source: str = "ann", target: str = "spam"
) -> StoredRecord:
    content = {
        "post_id": post_id,
        "target": target,
        "value": value,
        "source": source,
        "at_ms": at_ms,
    }
    return record(post_id, content)


def post(post_id: str, text: str, at_ms: int) -> StoredRecord:
    content = {"post_id": post_id, "author_id": "a", "created_at_ms": NOW_MS, "text": text}
    return record(post_id, content, timestamp=at_ms)


def joined(
    labels: list[StoredRecord], posts: list[StoredRecord], since_ms: int = 0
) -> tuple[LabelJoin, dict[str, Any]]:
    join = LabelJoin("spam", since_ms)
    for given in labels:
        join.add_label(given.key, given.value)
    for given in posts:
        join.add_post(given.key, given.value, given.timestamp)
    return join, {post.post_id: (post.text, value) for post, value in join.labelled()}


def test_the_text_is_the_version_that_stood_when_the_label_was_given() -> None:
    posts = [post("p", "first", 100), post("p", "second", 200), post("p", "third", 300)]
    for at_ms, text in ((100, "first"), (199, "first"), (200, "second"), (999, "third")):
        _, by_id = joined([label("p", 1, at_ms)], posts)
        assert by_id == {"p": (text, 1.0)}
    join, by_id = joined([label("p", 1, 99)], posts)
    assert by_id == {}
    assert join.left_out == {"labelled posts whose version of then is gone": 1}


def test_the_last_label_of_a_source_counts_and_sources_are_averaged() -> None:
    posts = [post("p", "text", 1)]
    twice = [label("p", 1, 50), label("p", 0, 60), label("p", 1, 40)]
    assert joined(twice, posts)[1]["p"][1] == 0.0
    several = [label("p", 1, 50), label("p", 0, 60, "bob"), label("p", 0, 60, "cy")]
    assert joined(several, posts)[1]["p"][1] == 0.0
    assert joined(several[:2], posts)[1]["p"][1] == 1.0


def test_a_source_that_saw_an_earlier_version_has_no_say() -> None:
    posts = [post("p", "kind", 1), post("p", "rude", 100)]
    labels = [label("p", 0, 50), label("p", 0, 51, "bob"), label("p", 1, 150, "cy")]
    assert joined(labels, posts)[1] == {"p": ("rude", 1.0)}


def test_deleted_posts_strange_targets_and_old_labels_are_left_out() -> None:
    deletion = record("p", None, timestamp=5)
    posts = [post("p", "one", 1), post("q", "two", 1), deletion, post("r", "three", 1)]
    labels = [
        *(label("p", 1, 50), label("q", 1, 50, target="nsfw"), label("r", 1, 10)),
        record("s", {"post_id": "s"}),
    ]
    join, by_id = joined(labels, posts, since_ms=20)
    assert by_id == {}
    assert join.left_out == {
        "labels that break the contract": 1,
        "labelled posts that are not there, or were deleted": 1,
    }
    assert [p.post_id for p in join.unlabelled()] == ["q", "r"]


def test_a_filter_of_ones_own_has_labels_too() -> None:
    join = LabelJoin("pills")
    for given in (label("p", 1, 50, target="pills"), label("p", 0, 60, target="potions")):
        join.add_label(given.key, given.value)
    written = post("p", "text", 1)
    join.add_post(written.key, written.value, written.timestamp)
    assert [value for _, value in join.labelled()] == [1.0]
    assert join.left_out == {"labels that break the contract": 1}


def test_a_post_is_no_younger_than_its_record() -> None:
    join, _ = joined([label("p", 1, 50)], [post("p", "text", 7)])
    assert join.labelled()[0][0].created_at_ms == 7


@pytest.fixture
def train_from_labels(stack: Any, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Posts and labels in a real Kafka, and the command that learns from them."""
    monkeypatch.setenv("FEEDMILL_KAFKA", stack.kafka)
    monkeypatch.setenv("FEEDMILL_TOPIC_PREFIX", prefix)
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    names = {f"{prefix}{name}" for name in ("labels", "posts")}
    configs = {"message.timestamp.type": "LogAppendTime"}
    admin.create_topics([NewTopic(name, 2, 1, topic_configs=configs) for name in names])
    until = time.monotonic() + 20
    while not names <= set(admin.list_topics()):
        assert time.monotonic() < until
        time.sleep(0.02)
    producer = KafkaProducer(bootstrap_servers=stack.kafka)

    def send(topic: str, key: str, value: dict[str, Any] | None) -> None:
        content = None if value is None else msgspec.json.encode(value)
        producer.send(f"{prefix}{topic}", content, key.encode())

    bad, good, plain = sentences(120, 1, "BUY pills NOW!!!"), sentences(120, 2), sentences(400, 3)
    now_ms = int(time.time() * 1000)
    for index, text in enumerate([*bad, *good, *plain]):
        key = f"p{index}"
        value = {"author_id": f"u{index % 60}", "created_at_ms": now_ms, "text": text}
        send("posts", key, {"post_id": key, **value})
        if index < 240:
            judgement = {"target": "spam", "value": float(index < 120), "source": "ann"}
            send("labels", key, {"post_id": key, **judgement, "at_ms": now_ms + 60_000})
    send("posts", "p0", None)
    producer.flush()
    producer.close()
    return lambda *words: CliRunner().invoke(main, ["train", "spam", "--from-labels", *words])


def test_a_filter_learns_from_the_topics(train_from_labels: Any, tmp_path: Path) -> None:
    look = ("--look", "a test", "--looks", str(tmp_path / "looks.jsonl"))
    done = train_from_labels("--out", str(tmp_path), "--day", "2026-01-01", *look)
    assert done.exit_code == 0, done.output
    card = read_card(tmp_path, "spam")
    assert card.command == "feedmill train spam --from-labels"
    assert [(use.file, use.split) for use in card.data] == [
        ("topic:labels", "author, by author, second edition"),
        ("topic:posts", "author, by author, second edition"),
    ]
    assert card.metrics["labels.auc"] > 0.9
    assert "left out: 1 labelled posts that are not there, or were deleted" in done.output
    again = train_from_labels("--out", str(tmp_path / "b"), "--json")
    assert card.sha256 in again.output
    none = train_from_labels("--since", f"{int(time.time() * 1000) + 120_000}")
    assert none.exit_code == 1
    assert "no labels of `spam`" in none.output
