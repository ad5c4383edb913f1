"""The word lists that ship are made of files with titles, terms and domains."""

import csv
import gzip
from pathlib import Path

import numpy as np

from feedmill.features.text.profanity import SOURCES
from feedmill.training import word_lists


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)


def test_the_word_lists_are_made(tmp_path: Path) -> None:
    posts = [{"title": f"The {word} ran", "subreddit": f"s{n}"} for n in range(3) for word in "ab"]
    write(tmp_path / "engagement_reddit_top.csv.gz", posts)
    write(
        tmp_path / "lists_profanity.csv.gz", [{"term": "darn", "source": SOURCES[0], "lang": "en"}]
    )
    write(tmp_path / "lists_domain_quality.csv.gz", [{"domain": "a.example", "pc1": "0.5"}])
    for folder in ("text/lists", "lists"):
        (tmp_path / folder).mkdir(parents=True)
    word_lists.main(["--data", str(tmp_path), "--out", str(tmp_path)])
    assert len(np.load(tmp_path / "text/lists/words.npy")) == 3
    assert np.load(tmp_path / "lists/domain_quality.npz")["scores"].tolist() == [0.5]
