from pathlib import Path

import pytest

from builders.ranker_datasets import write_quality_datasets
from feedmill.events.errors import UsageError
from feedmill.training.datasets.ratings import CLICKBAIT, SEMEVAL, WEBIS, read_own_ratings


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
