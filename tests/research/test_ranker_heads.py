"""The order of posts within communities, on generated ones in which a word decides."""

from pathlib import Path

import pytest
from ranker_figures import RankerEvaluation
from ranker_heads import (
    evaluate_head,
    evaluate_stored_head,
)

from builders.ranker_datasets import write_headline_tests, write_reactions
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.registry import load
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.datasets.reactions import FACEBOOK, REDDIT
from feedmill.training.ranker_recipes import ENGAGEMENT
from feedmill.training.trainers import engagement

LIKE, REPLY = ENGAGEMENT.heads[1:3]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[LabelledPosts, ExpectedClicks]:
    folder: Path = tmp_path_factory.mktemp("data")
    write_headline_tests(folder, by_text=True)
    write_reactions(folder, posts=100)
    engagement.train(folder, folder / "store", "2026-01-01")
    model = load("engagement", folder / "store")
    assert isinstance(model, ExpectedClicks)
    return REDDIT.load(folder, "reply"), model


def test_a_head_that_reads_media_is_compared_with_itself_without(tmp_path: Path) -> None:
    write_headline_tests(tmp_path, by_text=True)
    write_reactions(tmp_path, posts=60, pictures=True)
    engagement.train(tmp_path, tmp_path / "store", "2026-01-01", keeps_rows=False)
    model = load("engagement", tmp_path / "store")
    assert isinstance(model, ExpectedClicks)
    posts = FACEBOOK.load(tmp_path, "like")
    evaluation = RankerEvaluation("engagement", None)
    evaluate_head(posts, LIKE, 2_000, evaluation)
    (gain,) = [bar.figure for bar in evaluation.bars if bar.names[1].endswith("less without media")]
    assert gain.low > 0.02
    evaluate_stored_head(posts.split("test"), LIKE, model, evaluation)
    (stored,) = [s for s in evaluation.sections if s.title.startswith("Stored model")]
    found = {row[0]: float(row[2].split()[0]) for row in stored.rows if row[2]}
    assert found["head `like`"] > found["the head without media"] + 0.02
    assert found["the prior, all heads"] > found["the prior without media"]


def test_the_groups_of_the_test_rows_are_shown(
    stored: tuple[LabelledPosts, ExpectedClicks],
) -> None:
    posts, model = stored
    evaluation = RankerEvaluation("engagement", None)
    evaluate_stored_head(posts.split("test"), REPLY, model, evaluation)
    (section,) = evaluation.sections
    lowest, median, highest = map(float, section.note.rsplit(": ")[1].rstrip(".").split(", "))
    assert 0.5 < lowest <= median <= highest
