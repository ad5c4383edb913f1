"""At which scale quality and engagement each win a quarter of the pairs that they order apart.

    python benchmarks/objective_scales.py [--data ../shared/data]

Real posts of three sources, scored by the shipped models, in pairs of one community.  Counts are
simulated: the click rate of each post is drawn from the prior of the shipped model (so many
impressions as it is worth), then 500 impressions of it.  One half of the communities, by a hash of
their names, chooses the scale at which the objective that wins least wins most; the other half
judges that and the default scale.  Intervals of 95 % draw communities.  Posts of the data folder
are read and not kept.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Post
from feedmill.events.weights import DEFAULT_SCALE
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import TextModel
from feedmill.operations.preview.scales import Disagreements, disagreements, fairest_scale
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.registry import load

SEED, IMPRESSIONS = 11, (0, 500)
FEWEST, MOST = 20, 300  # posts of a community
LONGEST = 3_000
_AT_ONCE = 512

Floats = npt.NDArray[np.float64]


class Source(NamedTuple):
    """A file of the data folder: which of its columns, and the label of the rows that count."""

    file: str
    community: str
    text: tuple[str, ...]
    label: str = ""


SOURCES = {
    "Reddit, all": Source("nsfw_reddit_over18.csv.gz", "subreddit", ("text",), "0"),
    "Reddit, top": Source("engagement_reddit_top.csv.gz", "subreddit", ("title", "selftext")),
    "Facebook pages": Source("engagement_facebook_news.csv.gz", "page_id", ("message",)),
}


class Scored(NamedTuple):
    """Posts with their scores: which community, (posts,) each; `half` by community."""

    community: npt.NDArray[np.int64]
    quality: Floats
    prior: Floats
    half: npt.NDArray[np.bool_]

    def where(self, mask: npt.NDArray[np.bool_]) -> Scored:
        return Scored(self.community[mask], self.quality[mask], self.prior[mask], self.half)


def read_texts(folder: Path, source: Source) -> Iterator[tuple[str, str]]:
    """Communities and texts."""
    with gzip.open(folder / source.file, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if not source.label or row["label"] == source.label:
                yield row[source.community], " ".join(row[name] for name in source.text)[:LONGEST]


def scored(folder: Path, source: Source, quality: TextModel, engagement: ExpectedClicks) -> Scored:
    random = np.random.default_rng(SEED)
    by_community: dict[str, list[str]] = defaultdict(list)
    for name, text in read_texts(folder, source):
        by_community[name].append(text)
    names = sorted(name for name, texts in by_community.items() if len(texts) >= FEWEST)
    posts: list[Post] = []
    community: list[int] = []
    for number, name in enumerate(names):
        texts = by_community[name]
        for at in random.permutation(len(texts))[:MOST].tolist():
            posts.append(Post("p", "a", 0, texts[at]))
            community.append(number)
    parts = [PostBatch(posts[at : at + _AT_ONCE]) for at in range(0, len(posts), _AT_ONCE)]
    return Scored(
        np.array(community, np.int64),
        np.concatenate([quality.score_batch(part) for part in parts]),
        np.concatenate([engagement.prior_batch(part) for part in parts]),
        np.array([zlib.crc32(name.encode()) % 2 == 0 for name in names]),
    )


def by_impressions(posts: Scored, prior_weight: float) -> dict[int, Disagreements]:
    """The pairs of posts that were shown so often each."""
    random = np.random.default_rng(SEED)
    rates = random.beta(posts.prior * prior_weight, (1 - posts.prior) * prior_weight)
    found = {}
    for shown in IMPRESSIONS:
        clicks = random.binomial(shown, rates)
        values = (clicks + prior_weight * posts.prior) / (shown + prior_weight)
        found[shown] = disagreements(posts.community, posts.quality, values)
    return found


def show(name: str, pairs: Mapping[int, Disagreements], scales: Mapping[str, float]) -> None:
    for shown, of_stage in pairs.items():
        low, high = of_stage.fair_range
        print(f"{name:<16}{shown:>6}{len(of_stage.ratios):>10,}{low:>8.1f} to {high:>5.1f}", end="")
        for scale in scales.values():
            least, most = of_stage.interval(scale)
            print(f"{of_stage.share(scale):>10.3f} ({least:.3f} to {most:.3f})", end="")
        print()


def pooled(parts: Mapping[str, Scored]) -> Scored:
    """All posts, the communities numbered one after the other."""
    starts = np.cumsum([0, *(len(part.half) for part in parts.values())])
    columns = zip(*parts.values(), strict=True)
    community, quality, prior, half = (list(column) for column in columns)
    numbers = [part + start for part, start in zip(community, starts, strict=False)]
    return Scored(*(np.concatenate(c) for c in (numbers, quality, prior, half)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    folder = parser.parse_args().data
    if not folder.is_dir():
        sys.exit(f"{folder}: there is no such folder; --data names that of the data sets")
    quality, engagement = cast(TextModel, load("quality")), cast(ExpectedClicks, load("engagement"))
    parts = {n: scored(folder, source, quality, engagement) for n, source in SOURCES.items()}
    parts["all"] = pooled(parts)
    weight = engagement.prior_weight
    choosing = by_impressions(parts["all"].where(parts["all"].half[parts["all"].community]), weight)
    scales = {"chosen": fairest_scale(choosing), "default": DEFAULT_SCALE["engagement"]}
    print(f"chosen by one half: {scales['chosen']:.1f}; default: {scales['default']:g}")
    print(f"{'the other half':<16}{'shown':>6}{'pairs':>10}{'a quarter each':>17}", end="")
    print("".join(f"{f'engagement wins, {name}':>29}" for name in scales))
    for name, part in parts.items():
        show(name, by_impressions(part.where(~part.half[part.community]), weight), scales)


if __name__ == "__main__":
    main()
