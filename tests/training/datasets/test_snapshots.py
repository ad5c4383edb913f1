"""Rows that are kept beside a model: the same bytes for the same rows, and nothing is lost."""

import hashlib
from dataclasses import fields, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace as changed
from pyarrow import parquet

from builders.impressions import planted_impressions
from feedmill.events.errors import UsageError
from feedmill.events.post import Media, Post
from feedmill.features.authorship import UNKNOWN_AUTHOR, author_keys
from feedmill.features.media import MEDIA_KINDS, UNKNOWN, media_kinds
from feedmill.models.store_files import file_sizes
from feedmill.training.datasets.impression_arms import arms_of, shown_posts
from feedmill.training.datasets.labelled_posts import LabelledPosts, from_posts
from feedmill.training.datasets.snapshots import (
    SnapshotSource,
    name_of,
    pack_impressions,
    read_impressions,
    read_snapshot,
    save_impressions,
    save_snapshot,
)
from feedmill.training.purge import purge

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


def test_a_snapshot_is_named_by_its_content_and_reads_as_it_was(tmp_path: Path) -> None:
    rows = planted_impressions(40, 5, seed=1, likes=0.5)
    rows = rows.where(rows.versions != 3)
    kept = save_impressions(tmp_path, rows)
    path = tmp_path / name_of(kept.sha256)
    assert kept.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert save_impressions(tmp_path, rows) == kept
    assert kept.rows == len(rows)
    again = read_impressions(path)
    for field in fields(rows):
        if field.name not in ("posts", "versions", "authors"):
            np.testing.assert_array_equal(getattr(again, field.name), getattr(rows, field.name))
    assert [again.posts[n].text for n in again.versions] == [
        rows.posts[n].text for n in rows.versions
    ]
    np.testing.assert_array_equal(again.authors[again.versions], rows.authors[rows.versions])
    first, second = (arms_of(r, shown_posts(r), "click") for r in (rows, again))
    assert (first.texts, first.tests) == (second.texts, second.tests)
    assert pack_impressions(again) == path.read_bytes()


SHOWN: dict[str, dict[str, Any]] = {
    "none": {"media": ()},
    "link": {"links": ("https://example.org",)},
    "image": {"media": (Media("u", "image/png"),)},
    "video": {"media": (Media("u", "video"),)},
    "other": {"media": (Media("u", "audio"),)},
}


def test_the_kind_of_media_is_kept_and_not_its_address(tmp_path: Path) -> None:
    rows = planted_impressions(40, 5, seed=1)
    values = [*SHOWN.values(), {}]
    posts = [changed(post, **shown) for post, shown in zip(rows.posts, cycle(values), strict=False)]
    kept = save_impressions(tmp_path, replace(rows, posts=posts))
    again = read_impressions(tmp_path / name_of(kept.sha256))
    np.testing.assert_array_equal(media_kinds(again.posts), media_kinds(posts))
    assert set(media_kinds(posts).tolist()) == {*range(len(MEDIA_KINDS)), UNKNOWN}
    assert set(SHOWN) == set(MEDIA_KINDS)
    assert b"example.org" not in pack_impressions(replace(rows, posts=posts))


def test_media_and_authors_are_unknown_in_a_snapshot_from_before_them(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    path.write_bytes(pack_impressions(planted_impressions(40, 5, seed=1)))
    parquet.write_table(parquet.read_table(path).drop_columns(["media", "author"]), path)
    old = read_impressions(path)
    assert set(media_kinds(old.posts).tolist()) == {UNKNOWN}
    assert set(old.authors.tolist()) == {UNKNOWN_AUTHOR}


def test_a_snapshot_names_nobody(tmp_path: Path) -> None:
    rows = planted_impressions(40, 5, seed=1)
    posts = [changed(post, author_id=f"the-name-of-author-{post.post_id}") for post in rows.posts]
    path = tmp_path / "rows.parquet"
    path.write_bytes(pack_impressions(replace(rows, posts=posts, authors=author_keys(posts))))
    table = parquet.read_table(path)
    assert "user" not in " ".join(table.column_names)
    assert "the-name-of" not in str(table.to_pylist())


def test_a_purged_post_is_gone_and_the_others_stay(tmp_path: Path) -> None:
    rows = planted_impressions(40, 5, seed=1)
    gone = rows.posts[3].post_id
    save_impressions(tmp_path, rows)
    (done,) = purge(tmp_path, {gone}, "2026-01-01")
    left = read_impressions(tmp_path / name_of(done.now))
    others = rows.where(rows.versions != 3)
    assert len(left) == len(others) < len(rows)
    assert [left.posts[n].post_id for n in left.versions] == [
        others.posts[n].post_id for n in others.versions
    ]


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(UsageError, match="no snapshot of impressions"):
        read_impressions(path)
