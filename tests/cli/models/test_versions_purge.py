"""`feedmill models purge` on a store that `feedmill train` filled."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from builders.training_data import sentences
from feedmill.cli.main import main
from feedmill.cli.models import versions
from feedmill.models.artifact import read_card
from feedmill.streams.kafka.topic_reader import TopicRecord


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_a_post_that_was_deleted_leaves_what_a_training_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEEDMILL_MODELS", str(tmp_path))
    texts = [*sentences(80, 1, "BUY pills NOW!!!"), *sentences(80, 2)]
    lines = [f"{text},{int(n < 80)},own{n}" for n, text in enumerate(texts)]
    Path("mail.csv").write_text("\n".join(["text,label,ref", *lines]) + "\n")
    trained = run("train", "spam", "--data", "mail.csv,id=ref")
    assert trained.exit_code == 0, trained.output

    def deletions(_environment: object, topic: str) -> Iterator[TopicRecord]:
        assert topic == "posts"
        yield TopicRecord(0, 1, b"own5", None)

    monkeypatch.setattr(versions, "read_all", deletions)
    done = run("models", "purge", "--post", "own7", "--deleted", "--json")
    assert done.exit_code == 0, done.output
    (purged,) = json.loads(done.output)
    card = read_card(tmp_path, "spam")
    assert (purged["rows"], purged["cards"]) == (2, [f"spam@{card.version}"])
    snapshot = card.data[0].snapshot
    assert snapshot is not None
    assert (snapshot.sha256, snapshot.rows) == (purged["now"], 158)
    assert [one.rows for one in snapshot.purged] == [2]
    assert not Path("snapshots", f"{purged['before']}.parquet").exists()
    none = run("models", "purge", "--post", "own7")
    assert none.output == f"no snapshot of {tmp_path} has such a post\n"
    named = run("models", "purge")
    assert "name posts with --post ID, or give --deleted" in named.output
