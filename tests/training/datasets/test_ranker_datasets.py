from pathlib import Path

import numpy as np
import pytest

from builders.ranker_datasets import ARTICLE, PICTURE, write_quality_datasets, write_reactions
from feedmill.events.errors import UsageError
from feedmill.events.post import Post
from feedmill.features.media import IMAGE, LINK, NONE, UNKNOWN, VIDEO, media_kind, media_kinds
from feedmill.training.datasets.labelled_posts import LabelledRow, labelled_posts
from feedmill.training.datasets.ranker_datasets import (
    CLICKBAIT,
    FACEBOOK,
    REDDIT,
    SEMEVAL,
    WEBIS,
    read_own_ratings,
    within_group_targets,
)


def test_the_best_rating_is_1_in_each_data_set(tmp_path: Path) -> None:
    write_quality_datasets(tmp_path)
    for dataset in (CLICKBAIT, WEBIS, SEMEVAL):
        rows = dataset.load(tmp_path)
        bait = ["wow!!" in post.text for post in rows.posts]
        worst = 0.2 if dataset is WEBIS else 0.0
        assert rows.labels.tolist() == pytest.approx([worst if bad else 1.0 for bad in bait])
    assert WEBIS.load(tmp_path).groups[0].startswith("clickbait|")
    assert SEMEVAL.load(tmp_path).groups[1] == "semeval|q1"


def test_ratings_of_ones_own_are_read_with_what_the_card_states(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("body,good\n" + "".join(f"text {'x' * i},{i % 2}\n" for i in range(9)))
    posts, use = read_own_ratings(f"{path},text=body,label=good")
    assert posts.labels.tolist() == [i % 2 for i in range(9)]
    assert (use.file, use.role, len(use.sha256)) == ("votes.csv", "rated", 64)
    assert use.rows == len(posts.without_test()) < 9
    with pytest.raises(UsageError, match="cannot read"):
        read_own_ratings(str(tmp_path / "none.csv"))


def test_each_kind_of_reaction_is_read_with_its_group_and_time(tmp_path: Path) -> None:
    write_reactions(tmp_path)
    replies, shares = REDDIT.load(tmp_path, "reply"), FACEBOOK.load(tmp_path, "share")
    assert replies.labels[:2].tolist() == [100.0, 301.0]
    assert shares.labels[:2].tolist() == [10.0, 30.0]
    assert replies.groups[0] == "reddit|s0"
    assert replies.posts[1].created_at_ms == 1_400_000_001_000
    assert shares.posts[0].created_at_ms == 1_462_060_800_000


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (PICTURE, IMAGE),
        ("https://www.facebook.com/photo.php?fbid=1", IMAGE),
        ("https://www.facebook.com/apage/videos/123/", VIDEO),
        ("https://www.facebook.com/events/123/", LINK),
        (ARTICLE, LINK),
        ("https://example.org/photos/1", LINK),
        ("https://www.facebook.com/story?next=/photos/", LINK),
        (" ", NONE),
    ],
)
def test_the_address_that_a_post_shows_says_its_kind_of_media(url: str, kind: int) -> None:
    shown = FACEBOOK.shown({"link": url})
    assert media_kind(Post("p", "a", 0, "t", links=shown[0], media=shown[1])) == kind


def test_media_are_read_with_the_posts_and_unknown_where_the_data_set_has_none(
    tmp_path: Path,
) -> None:
    write_reactions(tmp_path, pictures=True)
    kinds = media_kinds(FACEBOOK.load(tmp_path, "like").posts)
    assert kinds[:4].tolist() == [IMAGE, LINK, LINK, IMAGE]
    write_reactions(tmp_path)
    for posts in (FACEBOOK.load(tmp_path, "like"), REDDIT.load(tmp_path, "reply")):
        assert set(media_kinds(posts.posts).tolist()) == {UNKNOWN}


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
