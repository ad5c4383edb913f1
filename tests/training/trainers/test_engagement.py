from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace as replace_post
from pyarrow import parquet

from builders.events import posts_of
from builders.impressions import planted_impressions, planted_posts
from builders.ranker_datasets import write_headline_tests, write_reactions
from feedmill.events.errors import UsageError
from feedmill.events.post import Media, Post
from feedmill.features.authorship import author_key
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.registry import load
from feedmill.training.datasets.headline_tests import read_arms
from feedmill.training.datasets.snapshots import name_of, read_impressions
from feedmill.training.trainers import engagement


def test_engagement_is_reproducible_and_learns_the_better_word(tmp_path: Path) -> None:
    write_headline_tests(tmp_path, by_text=True)
    write_reactions(tmp_path)
    first = engagement.train(tmp_path, tmp_path / "a", "2026-01-01")
    second = engagement.train(tmp_path, tmp_path / "b", "2026-01-02")
    assert first.sha256 == second.sha256
    model = load("engagement", tmp_path / "a")
    assert isinstance(model, ExpectedClicks)
    arms = read_arms(tmp_path)
    priors = model.prior_many(posts_of(arms.texts))
    better = np.array([text.endswith("wonderful") for text in arms.texts])
    assert float(priors[better].mean() / priors[~better].mean()) == pytest.approx(2.0, rel=0.2)
    assert float(priors.mean()) == pytest.approx(0.015, rel=0.1)
    assert [(use.role, use.split[:8]) for use in first.data][:2] == [
        ("click", "upworthy"),
        ("like", "facebook"),
    ]
    assert all(len(use.sha256) == 64 and use.rows for use in first.data)
    clicks, likes = (use.snapshot for use in first.data[:2])
    assert clicks and likes
    for kept, has_impressions in ((clicks, True), (likes, False)):
        table = parquet.read_table(tmp_path / "a" / "snapshots" / f"{kept.sha256}.parquet")
        assert "test" not in table["split"].to_pylist()
        impressions = table["impressions"].to_numpy(zero_copy_only=False)
        assert np.isfinite(impressions.astype(float)).all() == has_impressions


def test_media_move_the_prior_as_they_move_likes_and_shares(tmp_path: Path) -> None:
    write_headline_tests(tmp_path, by_text=True)
    write_reactions(tmp_path, pictures=True)
    card = engagement.train(tmp_path, tmp_path / "a", "2026-01-01", keeps_rows=False)
    write_reactions(tmp_path)
    silent = engagement.train(tmp_path, tmp_path / "b", "2026-01-01", keeps_rows=False)
    lifts = {k[18:]: x for k, x in card.metrics.items() if k.startswith("log_lift_of_media.")}
    assert lifts.keys() == {"link", "image"}
    assert not any(key.startswith("log_lift_of_media.") for key in silent.metrics)
    model = load("engagement", tmp_path / "a")
    assert isinstance(model, ExpectedClicks)
    model = replace(model, trees=None)
    texts = [post.text for post in planted_posts(20, seed=2)]
    plain = model.prior_many(posts_of(texts))
    for media, links, kind in (
        ((Media("u", "image"),), None, "image"),
        ((), ("https://example.org",), "link"),
    ):
        posts = [Post("p", "a", 1, text, links=links, media=media) for text in texts]
        np.testing.assert_allclose(model.prior_many(posts), plain * np.exp(lifts[kind]))
    assert lifts["image"] > 0 > lifts["link"]


def test_without_the_posts_with_reactions_it_says_which_file_is_missing(tmp_path: Path) -> None:
    write_headline_tests(tmp_path, by_text=True)
    with pytest.raises(UsageError, match=r"no data at .*engagement_facebook_news"):
        engagement.train(tmp_path, tmp_path / "a", "2026-01-01")


def test_own_impressions_train_a_model_of_the_same_kind(tmp_path: Path) -> None:
    rows = planted_impressions(300, 40, seed=1)
    # Every third post is of another author, who is read more.
    is_read = np.arange(300) % 3 == 0
    clicks = rows.reactions.copy()
    clicks[:, 0] |= is_read[rows.versions] & (np.random.default_rng(2).random(len(rows)) < 0.2)
    rows = replace(
        rows, reactions=clicks, authors=np.where(is_read, author_key("bob"), author_key("ann"))
    )
    command = "feedmill train engagement --from-topics"
    run = engagement.OwnRun(tmp_path / "a", "2026-01-01", command, {"wait_ms": 5})
    first = engagement.train_on_impressions(rows, run)
    kept = first.data[0].snapshot
    assert kept is not None
    again = read_impressions(tmp_path / "a" / name_of(kept.sha256))
    other = engagement.OwnRun(tmp_path / "b", "2026-01-02", "other", {}, keeps_rows=False)
    second = engagement.train_on_impressions(again, other)
    assert first.sha256 == second.sha256
    assert {use.sha256 for use in second.data} == {kept.sha256}
    assert {use.snapshot for use in second.data} == {None}
    assert not (tmp_path / "b" / "snapshots").exists()
    model = load("engagement", tmp_path / "a")
    priors = model.prior_many(planted_posts(100, seed=2))  # type: ignore[union-attr]  # engagement
    assert priors[1::2].min() > priors[::2].max()
    by_author = [
        model.prior_many([replace_post(post, author_id=name) for post in planted_posts(9, seed=2)])  # type: ignore[union-attr]  # engagement
        for name in ("bob", "ann", "nobody")
    ]
    assert (by_author[0] > by_author[2]).all()
    assert (by_author[2] > by_author[1]).all()
    assert {use.snapshot for use in first.data} == {kept}
    assert {use.sha256 for use in first.data} == {kept.sha256}
    assert [use.rows for use in first.data] == [300, 0, 0, 0]
    assert first.parameters["wait_ms"] == 5
    assert first.command == command
    assert "headlines of one publisher" not in " ".join(first.weaknesses)
    assert "hashes of their ids" in " ".join(first.weaknesses)
    assert first.metrics["known_authors"] == 2
    assert first.metrics["log_lift_deviation.authors"] > 0.1
    assert first.parameters["effects"]["authors"][0] is None
