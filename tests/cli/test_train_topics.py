"""`feedmill train` on topics in memory, and of engagement on a snapshot."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from builders.events import NOW_MS
from builders.impressions import impressions_in_turn, planted_impressions
from builders.training_data import sentences
from feedmill.cli import train_from_topics
from feedmill.cli.main import main
from feedmill.events.decode import encode
from feedmill.events.label import Label
from feedmill.events.post import Post
from feedmill.models.artifact import read_card
from feedmill.rankers.spec import STORE
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.training.datasets.snapshots import name_of, save_impressions


def train(*words: str) -> Result:
    return CliRunner().invoke(main, ["train", *words])


def use_topics(
    patch: pytest.MonkeyPatch, posts: list[Post], labels: list[Label], deleted: tuple[str, ...] = ()
) -> None:
    """Have these on `posts` and `labels`, each five milliseconds after the beginning of time."""
    gone = [TopicRecord(10**6, 5, post_id.encode(), None) for post_id in deleted]

    def read_all(_: Environment, topic: str, __: object) -> Iterator[TopicRecord]:
        events: Sequence[Post | Label] = posts if topic == "posts" else labels
        for offset, event in enumerate(events):
            yield TopicRecord(offset, 5, event.post_id.encode(), encode(event))
        yield from gone if topic == "posts" else ()

    patch.setattr(train_from_topics, "read_all", read_all)


@pytest.fixture
def rated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Posts of 60 authors, two labels each: those that end with `thanks` are good."""
    texts = [f"{text} {'thanks' if i % 2 else 'again'}" for i, text in enumerate(sentences(300, 4))]
    posts = [Post(f"p{i}", f"a{i % 60}", NOW_MS, text) for i, text in enumerate(texts)]
    labels = [
        Label(f"p{i}", "quality", 0.2 + 0.5 * (i % 2) + more, source, 10)
        for i in range(300)
        for source, more in (("ann", 0.0), ("ben", 0.2))
    ]
    use_topics(monkeypatch, posts, labels)


def test_a_filter_learns_from_labels_and_from_posts_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*sentences(120, 1, "BUY pills NOW!!!"), *sentences(120, 2), *sentences(400, 3)]
    posts = [Post(f"p{i}", f"u{i % 60}", NOW_MS, text) for i, text in enumerate(texts)]
    labels = [Label(f"p{i}", "spam", float(i < 120), "ann", 10) for i in range(240)]
    use_topics(monkeypatch, posts, labels, deleted=("p0",))
    done = train("spam", "--from-labels", "--out", str(tmp_path), "--day", "2026-01-01")
    assert done.exit_code == 0, done.output
    card = read_card(tmp_path, "spam")
    assert card.command == "feedmill train spam --from-labels"
    assert [(use.file, use.split) for use in card.data] == [
        ("topic:labels", "author, by author, second edition"),
        ("topic:posts", "author, by author, second edition"),
    ]
    assert card.metrics["labels.unseen.auc"] > 0.9
    assert "left out: 1 labelled posts that are not there, or were deleted" in done.output
    again = train("spam", "--from-labels", "--out", str(tmp_path / "b"), "--json")
    assert card.sha256 in again.output


def own_and_shipped(done: Result, figure: str) -> tuple[float, float]:
    """What a line of the figures says of the new version and of the shipped one."""
    line = next(line for line in done.stdout.splitlines() if figure in line)
    own, shipped = line.split()[-2:]
    return float(own), float(shipped)


@pytest.mark.usefixtures("rated")
def test_quality_learns_the_mean_of_each_posts_labels(tmp_path: Path) -> None:
    done = train("quality", "--from-topics", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    card = read_card(tmp_path, "quality")
    assert card.command == "feedmill train quality --from-topics"
    order, shipped_order = own_and_shipped(done, "rank correlation with the labels")
    assert order == pytest.approx(card.metrics["labels.unseen.order"], abs=1e-4)
    assert order > 0.8 > shipped_order
    error, shipped_error = own_and_shipped(done, "mean distance from the labels")
    assert error < 0.15 < shipped_error
    posts = tmp_path / "posts.jsonl"
    (text,) = sentences(1, 9)
    new = [Post(f"n{i}", "a", NOW_MS, f"{text} {'thanks' if i else 'again'}") for i in range(2)]
    posts.write_bytes(b"\n".join(map(encode, new)))
    scored = CliRunner().invoke(main, ["score", "quality", str(posts), "--model", str(tmp_path)])
    low, high = (json.loads(line)["value"] for line in scored.output.splitlines())
    assert (low, high) == (pytest.approx(0.3, abs=0.1), pytest.approx(0.8, abs=0.1))


@pytest.mark.usefixtures("rated")
def test_labels_before_a_time_are_left_out(tmp_path: Path) -> None:
    for words in (("quality", "--from-topics"), ("spam", "--from-labels")):
        done = train(*words, "--since", "11", "--out", str(tmp_path))
        assert done.exit_code == 1
        assert f"no labels of `{words[0]}`" in done.output


def test_a_snapshot_trains_the_same_model_again(tmp_path: Path) -> None:
    kept = save_impressions(tmp_path, planted_impressions(200, 20, seed=1))
    snapshot = tmp_path / name_of(kept.sha256)
    words = ("engagement", "--data", str(snapshot), "--json", "--out")
    first, second = (json.loads(train(*words, str(tmp_path / name)).output) for name in "ab")
    assert first["sha256"] == second["sha256"]
    assert first["command"] == f"feedmill train engagement --data {snapshot.name}"
    # All were shown after the last was posted, so none came later.
    said = train("engagement", "--data", str(snapshot), "--out", str(tmp_path / "c")).stdout
    assert re.search(r"not measured beside the shipped \w{12}: too few impressions: expected", said)


def test_engagement_is_measured_on_later_posts_beside_the_shipped_one(tmp_path: Path) -> None:
    kept = save_impressions(tmp_path, impressions_in_turn(400, 30, seed=1))
    snapshot = tmp_path / name_of(kept.sha256)
    said = train("engagement", "--data", str(snapshot), "--out", str(tmp_path / "own")).stdout
    assert "on 2,400 of 80 posts that were created later" in said
    shipped = read_card(STORE, "engagement").version
    auc = {
        name: float(re.findall(rf"\n{name} +([.0-9]+) ", said)[0])
        for name in ("trained alike", f"shipped {shipped}", "constant")
    }
    assert auc["trained alike"] > max(0.6, auc[f"shipped {shipped}"])
    assert auc["constant"] == 0.5


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("train engagement --from-topics --data .", "--from-topics takes no --data"),
        ("train quality --from-topics --data a.csv", "--from-topics goes with one --data FOLDER"),
        ("train quality --from-topics --wait 1h", "--wait goes with `train engagement --from-"),
        ("train engagement --wait 1h", "--wait goes with `train engagement --from-topics`"),
        ("train engagement --since 5", "--since needs --from-topics"),
        ("train spam --from-topics", "--from-topics is for rankers"),
        ("train engagement --data nowhere.parquet", "nowhere.parquet: no snapshot of impressions"),
        ("train engagement --from-topics --look why", "learns from its own data sets alone"),
        ("evaluate engagement", "engagement is evaluated with"),
        ("evaluate engagement --from-topics --data .", "engagement is evaluated with"),
        ("evaluate spam --from-topics", "--from-topics is for rankers"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(line: str, reason: str) -> None:
    done = CliRunner().invoke(main, line.split())
    assert done.exit_code == 1
    assert reason in done.output
    assert done.output.count("\n") == 1
