"""Bets of challengers on labels: each against the champion, before they learn it.

Labels come in the order of their records, which nobody can forge.  A label bets if its post is the
first of its author and of its near copies.  What is bet on is how much less wrong the challenger
is.  It knows the labels before that one alone, and is fitted again at each half more of them.

A model of few labels loses its first bets.  So the money is divided, and a part of it waits for
each fit: the first bets cannot lose that part.  And no rater decides alone: the bets of each rater
are left out in turn, and the least that is owned then counts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from feedmill.events.post import Post
from feedmill.training.arrays import Values
from feedmill.training.continual.challenger import (
    ALPHA,
    FRACTIONS,
    ChallengeResult,
    Contest,
    Fitted,
    challenge,
)
from feedmill.training.continual.rated_posts import AuditedPost, near_copy_clusters
from feedmill.training.label_join import LabelRecord

# Fewer labels make a version that only a thousand more of them would show to be beaten.
MIN_LABELS = 200

# A rater has so many labels at most, or such a part of those of all others before, if that is more.
FREE_LABELS, MOST_OF_OTHERS = 20, 0.125
# So many labels before the first fit, and how many times as many until the next.
FIRST_LABELS, _GROWTH = 40, 1.5
# So many models say whose labels agree least with those of the others.
_GROUPS = 8
# Until there are enough, they are counted again after each such part of them.
_ASKED_EVERY = 50
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


def labels_of_posts(records: Sequence[LabelRecord]) -> list[tuple[Post, float]]:
    """Return the posts in the order of their first labels, with the mean of what raters said.

    Of each rater the last label counts.
    """
    posts: dict[str, Post] = {}
    said: dict[str, dict[str, float]] = {}
    for post, label, rater, _ in records:
        posts[post.post_id] = post
        said.setdefault(post.post_id, {})[rater] = label
    return [(posts[name], float(np.mean([*of.values()]))) for name, of in said.items()]


def may_bet(records: Sequence[LabelRecord]) -> list[bool]:
    """Return for each label whether its post is the first of its author and its near copies."""
    clusters = near_copy_clusters([record.post.text for record in records])
    authors, seen, found = set[str](), set[int](), []
    for record, cluster in zip(records, clusters, strict=True):
        found.append(record.post.author_id not in authors and cluster not in seen)
        authors.add(record.post.author_id)
        seen.add(cluster)
    return found


@dataclass(frozen=True)
class LabelContest(Contest[Fitted]):
    """Challengers that learn from labels, and bet on labels.

    Attributes
    ----------
    records
        The labels of the window, in the order of records.
    from_ms
        From when on they bet, Unix milliseconds; earlier ones train.
    audit
        Rows that may veto, in the order of time.
    """

    records: Sequence[LabelRecord]
    from_ms: int
    audit: Sequence[AuditedPost]

    @cached_property
    def counted(self) -> list[LabelRecord]:
        """The labels that count, of which no rater has too many."""
        return without_floods(self.records)

    @property
    def counts(self) -> Mapping[str, int]:
        return {
            "labels": len(self.counted),
            "raters": len({record.rater for record in self.counted}),
            "beyond a rater's part": len(self.records) - len(self.counted),
            "audited": len(self.audit),
        }

    @abstractmethod
    def has_enough(self, records: Sequence[LabelRecord]) -> bool:
        """Whether a model can be fitted to these labels, for a first bet."""

    @abstractmethod
    def gains(self, earlier: Sequence[LabelRecord], later: Sequence[LabelRecord]) -> Values:
        """Return how much less wrong a challenger of `earlier` labels is: (later,) in [-1, 1]."""

    @abstractmethod
    def expected(self, earlier: Sequence[LabelRecord], later: Sequence[LabelRecord]) -> Values:
        """Return what a challenger of `earlier` labels expects `later` ones to be: (later,)."""

    @abstractmethod
    def limits(self, fitted: Fitted, posts: Sequence[Post]) -> dict[str, float]:
        """Return the limits of its candidate, by what it does to posts of the window."""

    def without(self, rater: str) -> Self:
        """Return the contest as it is where a rater said nothing."""
        return replace(self, records=[one for one in self.counted if one.rater != rater])

    def least_agreeing(self) -> str:
        """Return the rater whose labels differ most in sum from what models of the others expect.

        Raters are divided into groups, each of which is scored by a model of the others.  "" where
        the others have too few labels for a model.
        """
        records = self.counted
        group_of = {r: n % _GROUPS for n, r in enumerate(dict.fromkeys(r.rater for r in records))}
        groups: Values = np.array([group_of[record.rater] for record in records])
        wrong = np.zeros(len(records))
        for group in range(max(groups) + 1):
            mine = [record for record in records if group_of[record.rater] == group]
            others = [record for record in records if group_of[record.rater] != group]
            if not self.has_enough(others):
                return ""
            labels: Values = np.array([record.label for record in mine])
            wrong[groups == group] = np.abs(self.expected(others, mine) - labels)
        more = defaultdict[str, float](float)
        for record, by in zip(records, wrong - wrong.mean(), strict=True):
            more[record.rater] += by
        return max(more, key=lambda rater: more[rater])

    def better(self) -> tuple[int, float]:
        bets = self.bets()
        return len(bets.raters), bets.e_value()

    def bets(self) -> Bets:
        """Have challengers, each of the labels before, bet on those that came since `from_ms`."""
        records, may = self.counted, may_bet(self.counted)
        differences, fits, raters = list[float](), list[int](), list[str]()
        for fit, (begin, end) in enumerate(self._stretches(), 1):
            later = [records[n] for n in range(begin, end) if may[n]]
            if later:
                differences += self.gains(records[:begin], later).tolist()
                fits += [fit] * len(later)
                raters += [record.rater for record in later]
        return Bets(np.array(differences), np.array(fits), tuple(raters))

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Yield the places of the labels on which one challenger bets, which knows those before."""
        records = self.counted
        begin = next(
            (n for n, one in enumerate(records) if one.at_ms >= self.from_ms), len(records)
        )
        while begin < len(records):
            # More labels may be less: where raters tie, a post has no label.
            if not self.has_enough(records[:begin]):
                begin += 1 + begin // _ASKED_EVERY
                continue
            end = min(len(records), max(begin + 1, int(np.ceil(begin * _GROWTH))))
            yield begin, end
            begin = end


AnyContest = TypeVar("AnyContest", bound=LabelContest[Any])


def challenge_by_raters(contest: AnyContest) -> tuple[AnyContest, ChallengeResult[Any], str]:
    """Train a challenger, and where it is not released, one without the rater who agrees least.

    No rater alone may release a challenger, and none may keep every challenger back.  A challenger
    without a rater needs as many times the evidence as there are raters, any of whom might have
    been chosen (Bonferroni).

    Returns
    -------
    The contest that counts, what came of it, and which rater it leaves out; "" for nobody.
    """
    found = challenge(contest)
    rater = contest.least_agreeing() if found.reason and found.bets else ""
    if rater:
        other = contest.without(rater)
        result, needed = challenge(other), len({one.rater for one in contest.counted}) / ALPHA
        worst = min(result.better, needed if result.not_worse is None else result.not_worse)
        if result.fitted is not None and not result.reason and worst >= needed:
            return other, result, rater
    return contest, found, ""
