"""Rows that are kept beside a model: the same bytes for the same rows, and nothing is lost."""

from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from feedmill.events.errors import UsageError
from feedmill.events.post import Media, Post
from feedmill.models.store_files import file_sizes
from feedmill.training.datasets.labelled_posts import LabelledPosts, from_posts
from feedmill.training.datasets.snapshots import SnapshotSource, read_snapshot, save_snapshot

SOURCE = SnapshotSource("mail.csv", "1" * 64, "made up", "mail", "threads", "thread", 0.5)


def rows() -> LabelledPosts:
    full = Post(
        "p1",
        "ann",
        7,
        "a text",
        lang="en",
        links=("https://example.com/a",),
        media=(Media("https://example.com/b.png", "image", "2" * 64),),
        communities=("news", "local"),
        in_reply_to="p0",
        self_labels=("nsfw",),
    )
    empty = Post("p2", "bob", 8, "another one", links=(), communities=())
    return from_posts("mail", "threads", [(full, 1.0, "g1"), (empty, 0.0, "g2")])


def test_what_is_read_again_is_what_was_kept(tmp_path: Path) -> None:
    kept = save_snapshot(tmp_path, rows(), SOURCE)
    assert (kept.rows, kept.columns[:2], kept.purged) == (2, ("post_id", "author_id"), ())
    found = read_snapshot(tmp_path / "snapshots" / f"{kept.sha256}.parquet")
    assert found is not None
    assert found[1] == SOURCE
    assert (found[0].posts, found[0].groups) == (rows().posts, rows().groups)
    np.testing.assert_array_equal(found[0].labels, rows().labels)
    np.testing.assert_array_equal(found[0].splits, rows().splits)


def test_the_same_rows_are_one_file_and_others_another(tmp_path: Path) -> None:
    first, same = (save_snapshot(tmp_path, rows(), SOURCE) for _ in range(2))
    clicks = save_snapshot(tmp_path, rows(), SOURCE, np.array([10, 20]))
    assert first == same
    assert file_sizes(tmp_path, "snapshots").keys() == {
        f"{one.sha256}.parquet" for one in (first, clicks)
    }
    table = parquet.read_table(tmp_path / "snapshots" / f"{clicks.sha256}.parquet")
    assert table["impressions"].to_pylist() == [10, 20]


def test_an_altered_snapshot_is_refused_and_another_file_is_none(tmp_path: Path) -> None:
    kept = save_snapshot(tmp_path, rows(), SOURCE)
    path = tmp_path / "snapshots" / f"{kept.sha256}.parquet"
    table = parquet.read_table(path)
    parquet.write_table(table.slice(1), path)
    with pytest.raises(UsageError, match="it was altered"):
        read_snapshot(path)
    other = tmp_path / "own.parquet"
    parquet.write_table(table.select(["text", "label"]).replace_schema_metadata(None), other)
    assert read_snapshot(other) is None
    other.write_bytes(b"no parquet")
    assert read_snapshot(other) is None
    assert read_snapshot(tmp_path / "mail.csv") is None
