"""`feedmill train` of the rankers on topics in memory, and on a snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from builders.events import NOW_MS
from builders.impressions import planted_impressions
from builders.training_data import sentences
from feedmill.cli import label_topics
from feedmill.cli.main import main
from feedmill.events.decode import encode
from feedmill.events.label import Label
from feedmill.events.post import Post
from feedmill.models.artifact import read_card
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.settings.environment import Environment
from feedmill.training.datasets.impression_snapshots import save_impressions
from feedmill.training.datasets.snapshots import name_of


def train(*words: str) -> Result:
    return CliRunner().invoke(main, ["train", *words])


@pytest.fixture
def rated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Posts of 60 authors, two labels each: those that end with `thanks` are good."""
    texts = [f"{text} {'thanks' if i % 2 else 'again'}" for i, text in enumerate(sentences(300, 4))]
    posts: list[Post | Label] = [
        Post(f"p{i}", f"a{i % 60}", NOW_MS, text) for i, text in enumerate(texts)
    ]
    labels: list[Post | Label] = [
        Label(f"p{i}", "quality", 0.2 + 0.5 * (i % 2) + more, source, 10)
        for i in range(300)
        for source, more in (("ann", 0.0), ("ben", 0.2))
    ]

    def read_all(_: Environment, topic: str, __: object) -> Iterator[TopicRecord]:
        for offset, event in enumerate(posts if topic == "posts" else labels):
            yield TopicRecord(offset, 5, event.post_id.encode(), encode(event))

    monkeypatch.setattr(label_topics, "read_all", read_all)


@pytest.mark.usefixtures("rated")
def test_quality_learns_the_mean_of_each_posts_labels(tmp_path: Path) -> None:
    done = train("quality", "--from-topics", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    card = read_card(tmp_path, "quality")
    assert card.command == "feedmill train quality --from-topics"
    posts = tmp_path / "posts.jsonl"
    (text,) = sentences(1, 9)
    new = [Post(f"n{i}", "a", NOW_MS, f"{text} {'thanks' if i else 'again'}") for i in range(2)]
    posts.write_bytes(b"\n".join(map(encode, new)))
    scored = CliRunner().invoke(main, ["score", "quality", str(posts), "--model", str(tmp_path)])
    low, high = (json.loads(line)["value"] for line in scored.output.splitlines())
    assert (low, high) == (pytest.approx(0.3, abs=0.1), pytest.approx(0.8, abs=0.1))


@pytest.mark.usefixtures("rated")
def test_labels_before_a_time_are_left_out(tmp_path: Path) -> None:
    done = train("quality", "--from-topics", "--since", "11", "--out", str(tmp_path))
    assert done.exit_code == 1
    assert "no labels of `quality`" in done.output


def test_a_snapshot_trains_the_same_model_again(tmp_path: Path) -> None:
    kept = save_impressions(tmp_path, planted_impressions(200, 20, seed=1))
    snapshot = tmp_path / name_of(kept.sha256)
    words = ("engagement", "--data", str(snapshot), "--json", "--out")
    first, second = (json.loads(train(*words, str(tmp_path / name)).output) for name in "ab")
    assert first["sha256"] == second["sha256"]
    assert first["command"] == f"feedmill train engagement --data {snapshot.name}"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("engagement --from-topics --data .", "--from-topics takes no --data"),
        ("quality --from-topics --data a.csv", "--from-topics goes with one --data FOLDER"),
        ("quality --from-topics --wait 1h", "--wait goes with `train engagement --from-topics`"),
        ("engagement --wait 1h", "--wait goes with `train engagement --from-topics`"),
        ("engagement --since 5", "--since needs --from-topics"),
        ("spam --from-topics", "--from-topics is for rankers"),
        ("engagement --data nowhere.parquet", "nowhere.parquet: no snapshot of impressions"),
        ("engagement --from-topics --look why", "learns from its own data sets alone"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(words: str, reason: str) -> None:
    done = train(*words.split())
    assert done.exit_code == 1
    assert reason in done.output
    assert done.output.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("quality --from-topics", "--from-topics evaluates engagement alone"),
        ("engagement --from-topics --data .", "--from-topics evaluates engagement alone"),
        ("spam --from-topics", "--from-topics is for rankers"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(words: str, reason: str) -> None:
    done = CliRunner().invoke(main, ["evaluate", *words.split()])
    assert done.exit_code == 1
    assert reason in done.output
    assert done.output.count("\n") == 1
