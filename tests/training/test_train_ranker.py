from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from feedmill.training import train_engagement, train_quality

WORDS = (
    "river",
    "stone",
    "cloud",
    "apple",
    "winter",
    "garden",
    "letter",
    "music",
    "train",
    "coffee",
)


def _write(folder: Path, name: str, rows: Sequence[Mapping[str, object]]) -> None:
    with gzip.open(folder / f"{name}.csv.gz", "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _texts(count: int, seed: int, end: str = "") -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join([*random.choice(WORDS, 9), end]) for _ in range(count)]


def _arms(folder: Path) -> None:
    random = np.random.default_rng(7)
    rows: list[dict[str, object]] = []
    for test in range(150):
        for arm, text in enumerate(_texts(4, test, "")):
            good = arm % 2
            clicks = int(random.binomial(3_000, 0.02 if good else 0.01))
            headline = f"{text} wonderful" if good else text
            row = {"clickability_test_id": f"t{test}", "headline": headline}
            rows.append({**row, "impressions": 3_000, "clicks": clicks})
    _write(folder, "engagement_upworthy", rows)


def _quality_sets(folder: Path) -> None:
    bait, plain = _texts(200, 1, "wow!!"), _texts(200, 2)
    pairs = [(text, 1) for text in bait] + [(text, 0) for text in plain]
    _write(folder, "quality_clickbait32k", [{"text": t, "label": y} for t, y in pairs])
    webis = [{"text": f"{t} x", "truth_mean": 0.8 * y} for t, y in pairs[::3]]
    _write(folder, "quality_webis_clickbait17", webis)
    answers = [
        {"text": f"{t} z", "rating": "Bad" if y else "Good", "question_id": f"q{i % 40}"}
        for i, (t, y) in enumerate(pairs)
    ]
    _write(folder, "quality_semeval_cqa", answers)
    posts = _texts(120, 5)
    reddit = [
        {
            "title": t,
            "selftext": "",
            "over_18": "False",
            "subreddit": f"s{i % 20}",
            "created_utc": 1_400_000_000 + i,
            "domain": "self.s",
        }
        for i, t in enumerate(posts)
    ]
    _write(folder, "engagement_reddit_top", reddit)
    day = "2016-05-01T00:00:00+0000"
    face = [
        {"message": f"{t} f", "page_id": i % 20, "created_time": day, "link": ""}
        for i, t in enumerate(posts)
    ]
    _write(folder, "engagement_facebook_news", face)
    news = [
        {"title": f"{t} h", "author": i % 20, "created_at": "5/1/2016 9:30", "url": ""}
        for i, t in enumerate(posts)
    ]
    _write(folder, "engagement_hackernews20k", news)
    sky = [{"text": f"{t} b", "author": i % 20, "createdAt": day} for i, t in enumerate(posts)]
    _write(folder, "engagement_bluesky_a", sky)


def test_engagement_is_reproducible_and_learns_the_better_word(tmp_path: Path) -> None:
    _arms(tmp_path)
    first = train_engagement.train(tmp_path, tmp_path / "a", "2026-01-01")
    second = train_engagement.train(tmp_path, tmp_path / "b", "2026-01-02")
    assert first.sha256 == second.sha256
    assert first.metrics["upworthy.pairs_right_by_text"] > 0.8
    # Here the text says everything, so that counts can only tie.
    loss, prior = (first.metrics[f"upworthy.log_loss{end}"] for end in ("", "_prior_only"))
    assert loss <= 1.01 * prior


def test_quality_is_reproducible_and_learns(tmp_path: Path) -> None:
    _quality_sets(tmp_path)
    first = train_quality.train(tmp_path, tmp_path / "a", "2026-01-01")
    second = train_quality.train(tmp_path, tmp_path / "b", "2026-01-02")
    assert first.sha256 == second.sha256
    assert first.metrics["clickbait32k.auc"] > 0.9


def test_thinning_keeps_clicks_within_impressions() -> None:
    arms = train_engagement.Arms(["a"] * 50, ["t"] * 50, np.full(50, 400), np.full(50, 30))
    seen, clicked, rest, truth = train_engagement.thinned(arms, np.random.default_rng(1))
    assert (clicked <= seen).all()
    assert (rest > 0).all()
    np.testing.assert_allclose(clicked + truth * rest, 30)
