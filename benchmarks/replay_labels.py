"""Replay `train spam --follow` on real labels: when a challenger wins, and what it finds.

    python benchmarks/replay_labels.py --data ../shared/data [--seeds 20] [--flipped 0.1]
                                               [--null lottery|liar|flood]

The base never saw the source.  Comments, or as many messages of either kind, come in a drawn order
from ten raters; a share of the labels is flipped.  Labels of the test split are left out.  Of the
source's other posts the recall is at the value that one in a hundred fine ones reaches, for the
challenger that won and for the base.  Its harm is measured on ordinary posts of the data folder.

With `--null` the labels say nothing of which all raters know: they are drawn by lot, but those of
one rater, who says what is true of one label in ten (liar) or in two (flood).  What is shown is how
often the bets alone reach an e-value of 100 at the end of a round, and the largest e-values.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from feedmill.events.gates import GatePolicy
from feedmill.filters.model import FilterModel
from feedmill.filters.registry import FILTERS
from feedmill.training.arrays import Values
from feedmill.training.continual.challenger import ALPHA, challenge
from feedmill.training.continual.filter_contest import (
    FilterContest,
    OrdinaryPosts,
    harm,
)
from feedmill.training.continual.label_bets import MIN_LABELS, Bets
from feedmill.training.datasets.labelled_posts import LabelledPosts, concatenate
from feedmill.training.fitting.filters import fit
from feedmill.training.label_join import LabelRecord
from feedmill.training.training_data import TrainingData, read_training_data, recipe_of

RATERS, EVERY, MOST_LABELS, ORDINARY_ROWS = 10, 25, 1_000, 1_500
SPAM = FILTERS["spam"]


class Replayed(NamedTuple):
    """What came of a stream; `labels` is 0 where no challenger won."""

    labels: int = 0
    recall: float = 0.0
    base_recall: float = 0.0
    harm: float = 0.0
    base_harm: float = 0.0
    better: float = 0.0


def base_without(data: TrainingData, source: str) -> FilterModel:
    """Train the filter as it ships, but for one source."""
    kept = [place for place, one in enumerate(data.labelled) if one.rows.source != source]
    recipe = recipe_of(SPAM)
    recipe = replace(recipe, datasets=tuple(recipe.datasets[place] for place in kept))
    rows = [data.labelled[place].rows.without_test() for place in kept]
    return fit(recipe, rows, data.ordinary_posts).model(SPAM.name, "0" * 12)


def stream(rows: LabelledPosts, flipped: float, random: np.random.Generator) -> list[LabelRecord]:
    """Draw as many posts of either kind in any order, and who labels them."""
    kinds = [np.flatnonzero(rows.labels == label) for label in (0, 1)]
    few = min(map(len, kinds))
    order = random.permutation(np.concatenate([random.permutation(kind)[:few] for kind in kinds]))
    wrong = random.random(len(order)) < flipped
    return [
        LabelRecord(
            rows.posts[at], abs(rows.labels[at] - wrong[n]), f"r{random.integers(RATERS)}", n
        )
        for n, at in enumerate(order.tolist())
    ]


def contest_of(
    base: FilterModel, ordinary: OrdinaryPosts, records: Sequence[LabelRecord]
) -> FilterContest:
    """Have challengers of a base bet against it, at the default gate."""
    return FilterContest(records, 0, (), base, base, recipe_of(SPAM), ordinary, GatePolicy())


def first_enough(bets: Bets) -> float:
    """Return after how many bets the e-value first reaches 100; infinite if it never does.

    A round of fewer labels has fewer bets, so nobody needs to compute that round.
    """
    for n in range(1, len(bets.raters) + 1):
        if Bets(bets.differences[:n], bets.fits[:n], bets.raters[:n]).e_value() >= 1 / ALPHA:
            return n
    return np.inf


def replay(
    base: FilterModel, rows: LabelledPosts, ordinary: OrdinaryPosts, flipped: float, seed: int
) -> Replayed:
    """Have challengers bet on one stream, a round each 25 labels."""
    records = stream(rows, flipped, np.random.default_rng(seed))[:MOST_LABELS]
    enough = first_enough(contest_of(base, ordinary, records).bets())
    for count in range(MIN_LABELS, len(records) + 1, EVERY):
        if count < enough:
            continue
        contest = contest_of(base, ordinary, records[:count])
        tried = challenge(contest)
        if tried.fitted is None or tried.reason:
            continue
        model = tried.fitted.model(SPAM.name, "1" * 12)
        seen = {record.post.text for record in records[:count]}
        unseen = rows.where(np.array([post.text not in seen for post in rows.posts]))
        reference = ordinary.reference
        return Replayed(
            len(contest.counted),
            recall(model, unseen),
            recall(base, unseen),
            float(harm(model, reference).mean()),
            float(harm(base, reference).mean()),
            tried.better,
        )
    return Replayed()


def by_lot(
    records: Sequence[LabelRecord], null: str, random: np.random.Generator
) -> list[LabelRecord]:
    """Draw the labels by lot, but those of the rater `liar`, who says what is true."""
    part = {"lottery": 0.0, "liar": 0.1, "flood": 0.5}[null]
    lies = random.random(len(records)) < part
    return [
        one._replace(rater="liar") if lies[n] else one._replace(label=float(random.integers(2)))
        for n, one in enumerate(records)
    ]


def most_owned(bets: Bets) -> float:
    """Return the largest e-value at the end of a round, each of 25 bets."""
    ends = range(EVERY, len(bets.raters) + EVERY, EVERY)
    looks = (Bets(bets.differences[:n], bets.fits[:n], bets.raters[:n]) for n in ends)
    return max((look.e_value() for look in looks), default=1.0)


def recall(model: FilterModel, rows: LabelledPosts) -> float:
    """Return the share of what violates above the value that 1 % of the fine posts reach.

    It is NaN where labels have used up the posts of a kind.
    """
    if len({*rows.labels.tolist()}) < 2:
        return float("nan")
    values: Values = model.score_many(rows.posts)
    return float((values[rows.labels == 1] > np.quantile(values[rows.labels == 0], 0.99)).mean())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--flipped", type=float, default=0.0)
    parser.add_argument("--null", choices=("lottery", "liar", "flood"))
    options = parser.parse_args(arguments)
    data = read_training_data(SPAM, [str(Path(options.data))], [])
    sampled = [one.without_test().sample(ORDINARY_ROWS, 7) for one in data.ordinary_posts]
    ordinary = OrdinaryPosts.of(concatenate(sampled))
    for one in data.labelled:
        base, rows = base_without(data, one.rows.source), one.rows.without_test()
        if options.null:
            randoms = [np.random.default_rng(n) for n in range(options.seeds)]
            streams = [by_lot(stream(rows, 0.0, r), options.null, r) for r in randoms]
            contests = (contest_of(base, ordinary, of[:MOST_LABELS]) for of in streams)
            most = sorted(most_owned(contest.bets()) for contest in contests)
            crossed = sum(value >= 1 / ALPHA for value in most)
            print(f"{one.rows.source}: {crossed} of {len(most)} crossed, most {most[-3:]}")
            continue
        found = [replay(base, rows, ordinary, options.flipped, n) for n in range(options.seeds)]
        won = [run for run in found if run.labels]
        print(f"{one.rows.source}: {len(won)} of {len(found)} won, {options.flipped:.0%} flipped")
        for name in Replayed._fields if won else ():
            of = [value for run in won if not np.isnan(value := getattr(run, name))]
            shown = f"{np.median(of):>12.4g} ({min(of):.4g} to {max(of):.4g})" if of else "none"
            print(f"  {name:<12}{shown} of {len(of)}")


if __name__ == "__main__":
    main()
