from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from builders.impressions import planted_impressions
from feedmill.events.errors import UsageError
from feedmill.training.datasets.impression_arms import arms_of, shown_posts
from feedmill.training.datasets.impression_snapshots import (
    pack_impressions,
    read_impressions,
    save_impressions,
)
from feedmill.training.datasets.snapshots import name_of
from feedmill.training.purge import purge


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
        if field.name not in ("posts", "versions"):
            np.testing.assert_array_equal(getattr(again, field.name), getattr(rows, field.name))
    assert [again.posts[n].text for n in again.versions] == [
        rows.posts[n].text for n in rows.versions
    ]
    first, second = (arms_of(r, shown_posts(r), "click") for r in (rows, again))
    assert (first.texts, first.tests) == (second.texts, second.tests)
    assert pack_impressions(again) == path.read_bytes()


def test_a_snapshot_names_nobody(tmp_path: Path) -> None:
    content = pack_impressions(planted_impressions(40, 5, seed=1))
    assert b"user" not in content
    assert b"author" not in content


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
