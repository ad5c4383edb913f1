"""Replay `train quality --follow` on real ratings: when a challenger wins, and how it orders posts.

    python benchmarks/replay_ratings.py --data ../shared/data [--seeds 20] [--shuffled]

The base never saw the source: answers are rated from a base of headlines, headlines from one of
answers.  Ratings come in a drawn order from ten raters, at most 1,000; those of the test split are
left out.  The order of the source's other posts is Spearman's correlation with their ratings, for
the challenger that won and for the base.  With `--shuffled` the ratings belong to other posts: what
is shown is how often the bets reach an e-value of 100 at the end of a round.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from replay_labels import EVERY, MOST_LABELS, RATERS, first_enough, most_owned
from scipy.stats import spearmanr

from feedmill.models.artifact import Artifact, unpack_artifact
from feedmill.rankers.quality import QualityModel
from feedmill.training.arrays import Values
from feedmill.training.continual.challenger import challenge
from feedmill.training.continual.label_bets import MIN_LABELS
from feedmill.training.continual.rating_contest import RatingContest
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.fitting.quality import fit_quality, with_delta
from feedmill.training.label_join import LabelRecord
from feedmill.training.recipes import QUALITY
from feedmill.training.trainers.quality import pack, read_rated


class Replayed(NamedTuple):
    """What came of a stream; `labels` is 0 where no challenger won."""

    labels: int
    most: float
    order: float = float("nan")
    base_order: float = float("nan")


def base_without(data: Path, construct: str) -> QualityModel:
    """Train quality as it ships, but for one construct."""
    rated = [texts for texts in read_rated(data, QUALITY) if texts.name != construct]
    fitted = fit_quality(rated, QUALITY.helper_penalty, QUALITY.register_c, QUALITY.trees)
    arrays, metadata = unpack_artifact(pack(fitted), "base")
    return QualityModel.of(Artifact("quality", "0" * 12, arrays, metadata))


def stream(
    rows: LabelledPosts, random: np.random.Generator, *, shuffled: bool
) -> list[LabelRecord]:
    """Draw the order of posts, and who rates each."""
    order = random.permutation(len(rows))[:MOST_LABELS]
    labels = random.permutation(rows.labels[order]) if shuffled else rows.labels[order]
    return [
        LabelRecord(rows.posts[at], float(labels[n]), f"r{random.integers(RATERS)}", n)
        for n, at in enumerate(order.tolist())
    ]


def replay(base: QualityModel, rows: LabelledPosts, records: list[LabelRecord]) -> Replayed:
    """Have challengers bet on one stream, a round each 25 labels."""
    bets = RatingContest(records, 0, (), base).bets()
    most, enough = most_owned(bets), first_enough(bets)
    for count in range(MIN_LABELS, len(records) + 1, EVERY):
        if count < enough:
            continue
        tried = challenge(RatingContest(records[:count], 0, (), base))
        if tried.fitted is None or tried.reason:
            continue
        rated = {record.post.post_id for record in records[:count]}
        later = rows.where(np.array([post.post_id not in rated for post in rows.posts]))
        moved = with_delta(base, tried.fitted)
        return Replayed(count, most, order_of(moved, later), order_of(base, later))
    return Replayed(0, most)


def order_of(model: QualityModel, rows: LabelledPosts) -> float:
    """Return Spearman's correlation of values and ratings."""
    values: Values = model.score_many(rows.posts)
    return float(spearmanr(values, rows.labels).statistic)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="../shared/data", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--shuffled", action="store_true")
    options = parser.parse_args(arguments)
    for texts in read_rated(options.data, QUALITY):
        base, rows = base_without(options.data, texts.name), texts.posts
        randoms = [np.random.default_rng(seed) for seed in range(options.seeds)]
        streams = [stream(rows, random, shuffled=options.shuffled) for random in randoms]
        found = [replay(base, rows, records) for records in streams]
        won = [run for run in found if run.labels]
        print(f"{rows.source}: {len(won)} of {len(found)} won of {len(streams[0])} ratings")
        for name in Replayed._fields:
            of = [value for run in won or found if not np.isnan(value := getattr(run, name))]
            if of:
                print(f"  {name:<12}{np.median(of):>10.4g} ({min(of):.4g} to {max(of):.4g})")


if __name__ == "__main__":
    main()
