from __future__ import annotations

from pathlib import Path

import numpy as np

from builders.ranker_datasets import write_reactions
from feedmill.training.datasets.labelled_posts import LabelledRow, labelled_posts
from feedmill.training.datasets.reactions import FACEBOOK, REDDIT, within_group_targets


def test_each_kind_of_reaction_is_read_with_its_group_and_time(tmp_path: Path) -> None:
    write_reactions(tmp_path)
    replies, shares = REDDIT.load(tmp_path, "reply"), FACEBOOK.load(tmp_path, "share")
    assert replies.labels[:2].tolist() == [100.0, 301.0]
    assert shares.labels[:2].tolist() == [10.0, 30.0]
    assert replies.groups[0] == "reddit|s0"
    assert replies.posts[1].created_at_ms == 1_400_000_001_000
    assert shares.posts[0].created_at_ms == 1_462_060_800_000


def test_a_target_says_nothing_of_the_size_of_its_group(tmp_path: Path) -> None:
    write_reactions(tmp_path)
    rows = REDDIT.load(tmp_path, "reply")
    targets = within_group_targets(rows)
    groups = np.array(rows.groups)
    means = [targets[groups == name].mean() for name in np.unique(groups)]
    np.testing.assert_allclose(means, 0, atol=1e-12)
    assert targets.std() == 1.0 or abs(targets.std() - 1) < 1e-12
    assert targets[1] > 0.5 > -0.5 > targets[0]


def test_a_small_group_has_no_target() -> None:
    few = [LabelledRow(f"few {'x' * i}", 9.0, "a") for i in range(4)]
    enough = [LabelledRow(f"enough {'x' * i}", float(i), "b") for i in range(5)]
    targets = within_group_targets(labelled_posts("s", "s", [*few, *enough]))
    assert np.isnan(targets[:4]).all()
    assert np.isfinite(targets[4:]).all()
