"""Generated data sets of the rankers, in files as the data folder has them."""

import csv
import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from builders.training_data import WORDS

PICTURE = "https://www.facebook.com/apage/photos/a.1.2.3/4/?type=3"
ARTICLE = "https://news.example.org/2016/05/an-article"


def write_headline_tests(folder: Path, *, by_text: bool, pictures: int = 1) -> None:
    """Write 150 tests of four arms, in each of which two arms get twice the clicks.

    `by_text`: the better headlines end with `wonderful`; else nothing in a text tells them apart.
    `pictures`: how often each arm is repeated.
    """
    random = np.random.default_rng(7)
    rows: list[dict[str, object]] = []
    for test in range(150):
        for arm, text in enumerate(_texts(4, test)):
            is_better = arm % 2
            clicks = int(random.binomial(3_000, 0.02 if is_better else 0.01))
            headline = f"{text} wonderful" if is_better and by_text else text
            row = {
                "clickability_test_id": f"t{test}",
                "headline": headline,
                "test_week": 201400 + test,
            }
            rows += [{**row, "impressions": 3_000, "clicks": clicks}] * pictures
    _write(folder, "engagement_upworthy", rows)


def write_reactions(folder: Path, *, posts: int = 30, pictures: bool = False) -> None:
    """Write so many posts in each of 20 groups, with more reactions in later groups.

    Within a group, those that end with `wonderful` get three times as many as those that end with
    `something`, a word as long.  With `pictures` every third post of a page has one, and twice the
    reactions; the others have a link.
    """
    reddit, facebook = [], []
    for group in range(20):
        for row, text in enumerate(_texts(posts, 100 + group)):
            count = (group + 1) * 100 * (3 if row % 2 else 1) + row
            words = f"{text} {'wonderful' if row % 2 else 'something'}"
            at_s = 1_400_000_000 + row
            reddit.append(
                {"subreddit": f"s{group}", "created_utc": at_s, "title": words, "selftext": ""}
                | {"num_comments": count}
            )
            has_picture = pictures and row % 3 == 0
            counts = count * (2 if has_picture else 1)
            facebook.append(
                {"page_id": group, "created_time": "2016-05-01T00:00:00+0000"}
                | {"message": f"{words} f", "react_like": counts, "shares": counts // 10}
                | ({"link": PICTURE if has_picture else ARTICLE} if pictures else {})
            )
    _write(folder, "engagement_reddit_top", reddit)
    _write(folder, "engagement_facebook_news", facebook)


def write_quality_datasets(folder: Path) -> None:
    """Write labelled texts, the bad ones ending with `wow!!`, and ordinary posts."""
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
    _write_ordinary(folder, _texts(120, 5))


def _write_ordinary(folder: Path, texts: Sequence[str]) -> None:
    reddit = [
        {
            "title": text,
            "selftext": "",
            "over_18": "False",
            "subreddit": f"s{i % 20}",
            "created_utc": 1_400_000_000 + i,
            "domain": "self.s",
        }
        for i, text in enumerate(texts)
    ]
    _write(folder, "engagement_reddit_top", reddit)
    day = "2016-05-01T00:00:00+0000"
    facebook = [
        {"message": f"{text} f", "page_id": i % 20, "created_time": day, "link": ""}
        for i, text in enumerate(texts)
    ]
    _write(folder, "engagement_facebook_news", facebook)
    news = [
        {"title": f"{text} h", "author": i % 20, "created_at": "5/1/2016 9:30", "url": ""}
        for i, text in enumerate(texts)
    ]
    _write(folder, "engagement_hackernews20k", news)
    sky = [
        {"text": f"{text} b", "author": i % 20, "createdAt": day} for i, text in enumerate(texts)
    ]
    _write(folder, "engagement_bluesky_a", sky)


def _write(folder: Path, name: str, rows: Sequence[Mapping[str, object]]) -> None:
    with gzip.open(folder / f"{name}.csv.gz", "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _texts(count: int, seed: int, end: str = "") -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join([*random.choice(WORDS, 9), end]) for _ in range(count)]
