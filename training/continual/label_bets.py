"""Bets of a filter's challengers on labels: each against the champion, before they learn it.

Labels come in the order of their records, which nobody can forge.  A label bets if its post is the
first of its author and of its near copies.  What is bet on is what the gates in force do to the
post (0 show, 1/2 demote, 1 hide) beside the label: how much less wrong the challenger is.  It knows
the labels before that one alone, and is fitted again at each half more of them.

A model of few labels loses its first bets.  So the money is divided, and a part of it waits for
each fit: the first bets cannot lose that part.  And no rater decides alone: the bets of each rater
are left out in turn, and the least that is owned then counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from feedmill.events.gates import GatePolicy
from feedmill.events.post import Post
from feedmill.filters.model import FilterModel
from feedmill.training.arrays import Values
from feedmill.training.continual.challenger import FRACTIONS
from feedmill.training.continual.rated_posts import near_copy_clusters
from feedmill.training.label_join import LabelRecord

# A rater has so many labels at most, or such a part of those of all others before, if that is more.
FREE_LABELS, MOST_OF_OTHERS = 20, 0.125
# So many labels, and of each kind, before the first bet; and how many times as many until the next.
_FIRST_LABELS, _FIRST_OF_CLASS, _GROWTH = 40, 10, 1.5
# Into so many parts the money is divided: the n-th bets from the n-th fit on.
_PARTS = 16


class Bets(NamedTuple):
    """Bets in their order.

    Attributes
    ----------
    differences
        How much less wrong the challenger was, (bets,) in [-1, 1].
    fits
        By which fit, (bets,), from 1 on; it never falls.
    raters
        Whose labels they are, (bets,).
    """

    differences: Values
    fits: Values
    raters: tuple[str, ...]

    def e_value(self) -> float:
        """Return the least that is owned where the bets of one rater are left out."""
        names = np.array(self.raters)
        every = [owned(self.differences[names != r], self.fits[names != r]) for r in {*self.raters}]
        return min(every, default=1.0)


def owned(differences: Values, fits: Values) -> float:
    """Return what is owned after bets by fits, where a part of the money waits for each fit."""
    gains = np.log1p(np.outer(FRACTIONS, [*differences, 0.0]))
    from_each = np.cumsum(gains[:, ::-1], axis=1)[:, ::-1]
    begins = np.searchsorted(fits, np.arange(1, _PARTS + 1))
    return float(np.exp(from_each[:, begins]).mean())


def without_floods(records: Sequence[LabelRecord]) -> list[LabelRecord]:
    """Return the labels that count: those that came when their rater had not too many."""
    counted: Counter[str] = Counter()
    kept = list[LabelRecord]()
    for record in records:
        mine = counted[record.rater]
        if mine < max(FREE_LABELS, MOST_OF_OTHERS * (len(kept) - mine)):
            counted[record.rater] += 1
            kept.append(record)
    return kept


def labelled_posts(records: Sequence[LabelRecord]) -> list[tuple[Post, float]]:
    """Return the posts in the order of their first labels, 1 where half of the raters say so.

    Of each rater the last label counts.
    """
    posts: dict[str, Post] = {}
    said: dict[str, dict[str, float]] = {}
    for post, label, rater, _ in records:
        posts[post.post_id] = post
        said.setdefault(post.post_id, {})[rater] = label
    return [(posts[name], float(np.mean([*of.values()]) >= 0.5)) for name, of in said.items()]


def may_bet(records: Sequence[LabelRecord]) -> list[bool]:
    """Return for each label whether its post is the first of its author and its near copies."""
    clusters = near_copy_clusters([record.post.text for record in records])
    authors, seen, found = set[str](), set[int](), []
    for record, cluster in zip(records, clusters, strict=True):
        found.append(record.post.author_id not in authors and cluster not in seen)
        authors.add(record.post.author_id)
        seen.add(cluster)
    return found


def done_by(gate: GatePolicy, values: Values) -> Values:
    """Return what a gate does at these values: (n,), 0 where it shows, 1/2 demotes, 1 hides."""
    if not gate.required:
        return np.zeros(len(values))
    never = np.inf
    hides = values >= (never if gate.hide_at is None else gate.hide_at)
    demotes = values >= (never if gate.demote_at is None else gate.demote_at)
    return np.maximum(hides.astype(np.float64), demotes / 2)


def has_enough(records: Sequence[LabelRecord]) -> bool:
    """Whether a model can be fitted to these labels, for a first bet."""
    violating = sum(record.label > 0.5 for record in records)
    of_class = min(violating, len(records) - violating)
    return len(records) >= _FIRST_LABELS and of_class >= _FIRST_OF_CLASS


def bets_on(
    records: Sequence[LabelRecord],
    from_ms: int,
    champion: FilterModel,
    gate: GatePolicy,
    fitted: Callable[[Sequence[LabelRecord]], FilterModel],
) -> Bets:
    """Have challengers, each `fitted` to earlier labels, bet on those that were stored since then.

    `records` are all that are known, in their order; those before `from_ms` only train.  What the
    `gate` does to a post by the value of the `champion`, and of the challenger, is compared.
    """
    may = may_bet(records)
    differences, fits, raters = list[float](), list[int](), list[str]()
    for fit, (begin, end) in enumerate(_stretches(records, from_ms), 1):
        places = [n for n in range(begin, end) if may[n]]
        if not places:
            continue
        challenger = fitted(records[:begin])
        posts = [records[n].post for n in places]
        labels = np.array([records[n].label for n in places])
        wrong = [
            np.abs(done_by(gate, model.score_many(posts)) - labels)
            for model in (champion, challenger)
        ]
        differences += (wrong[0] - wrong[1]).tolist()
        fits += [fit] * len(places)
        raters += [records[n].rater for n in places]
    return Bets(np.array(differences), np.array(fits), tuple(raters))


def _stretches(records: Sequence[LabelRecord], from_ms: int) -> Iterator[tuple[int, int]]:
    """Yield the places of the labels on which one challenger bets, which knows those before."""
    begin = next((n for n, one in enumerate(records) if one.at_ms >= from_ms), len(records))
    while begin < len(records) and not has_enough(records[:begin]):
        begin += 1
    while begin < len(records):
        end = min(len(records), max(begin + 1, int(np.ceil(begin * _GROWTH))))
        yield begin, end
        begin = end
