"""What labels say of raters, of their delay, and of the models whose values they answer.

A fold over `labels`, `posts` and `signals.<filter>`, record by record; then `report`.

How reliable raters are is told by the model of Dawid and Skene (1979), from posts that several
raters labelled.  Nobody knows the true labels: a post violates with some probability, and each
rater finds a violating post with a probability of their own, and spares a fine post with another.
Expectation-maximisation goes back and forth between the posts and the raters.  Packages that have
this model bring deep learning along (crowd-kit), or another model (cleanlab).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.label import Label
from feedmill.events.newest_signals import NewestSignals
from feedmill.events.post import Post
from feedmill.events.signal import RULE_MODEL, Signal, SignalNames
from feedmill.training.arrays import Values, Weights
from feedmill.training.evaluation.intervals import Bootstrap, Figure
from feedmill.training.label_join import LabelJoin, majority

_ROUNDS = 100
_SETTLED = 1e-6
# Each rater starts with four right labels and a wrong one of each kind: few labels say little.
_RIGHT, _WRONG = 4.0, 1.0

MINUTE_MS = 60_000
# The upper edges of the histogram of delays; what takes longer is in a last bucket.
DELAYS_MS: Mapping[str, int] = {
    "1m": MINUTE_MS,
    "10m": 10 * MINUTE_MS,
    "1h": 60 * MINUTE_MS,
    "6h": 360 * MINUTE_MS,
    "1d": 1440 * MINUTE_MS,
    "7d": 10_080 * MINUTE_MS,
}
LONGER = "longer"
AUDIT, CHOSEN = "audit", "chosen"
Judged = Sequence[tuple[Post, Sequence[Label]]]


class Agreement(NamedTuple):
    """What the labels say of posts and raters.

    Attributes
    ----------
    violates
        Of each post, the probability that it violates: (posts,).
    sensitivity
        Of each rater, the probability that a violating post is labelled so: (raters,).
    specificity
        Of each rater, the probability that a fine post is labelled so: (raters,).
    """

    violates: Values
    sensitivity: Values
    specificity: Values


def dawid_skene(posts: Sequence[int], raters: Sequence[int], violates: Sequence[bool]) -> Agreement:
    """Fit the model to n labels.

    Parameters
    ----------
    posts, raters
        Of each label its post and its rater, numbered from 0 without gaps: (n,).
    violates
        What each label says: (n,).
    """
    of_post, of_rater = np.asarray(posts, np.int64), np.asarray(raters, np.int64)
    says = np.asarray(violates, np.float64)
    # The majority to begin with.
    truth = np.bincount(of_post, says) / np.bincount(of_post)
    for _ in range(_ROUNDS):
        sensitivity = _rates(of_rater, says, truth[of_post])
        specificity = _rates(of_rater, 1 - says, 1 - truth[of_post])
        prior = (truth.sum() + 1) / (len(truth) + 2)
        caught, spared = sensitivity[of_rater], specificity[of_rater]
        odds = np.where(says == 1, np.log(caught / (1 - spared)), np.log((1 - caught) / spared))
        log_odds = np.log(prior / (1 - prior)) + np.bincount(of_post, odds)
        before, truth = truth, 1 / (1 + np.exp(-np.clip(log_odds, -50, 50)))
        if np.abs(truth - before).max() < _SETTLED:
            break
    return Agreement(truth, sensitivity, specificity)


def _rates(of_rater: npt.NDArray[np.int64], right: Values, weights: Values) -> Values:
    """Return how often each rater's labels are right, of those with these weights: (raters,)."""
    hits = np.bincount(of_rater, right * weights) + _RIGHT
    rates: Values = hits / (np.bincount(of_rater, weights) + _RIGHT + _WRONG)
    return rates


class RaterRow(msgspec.Struct, frozen=True):
    """One rater.

    Attributes
    ----------
    labels, violating
        How many posts they labelled, and how many of these as violating.
    shared
        How many of the posts somebody else labelled, too.
    sensitivity, specificity
        How often they find what violates and spare what is fine, by Dawid and Skene, from all
        posts with several raters; None without a shared post.
    """

    rater: str
    labels: int
    violating: int
    shared: int
    sensitivity: float | None
    specificity: float | None


class VersionRow(msgspec.Struct, frozen=True):
    """One version of the filter on the posts of the audit, or on those that somebody chose.

    Attributes
    ----------
    drawn
        `AUDIT`: rows have the inverse of their sampling probability as weight, and stand for all
        posts.  `CHOSEN`: they stand for themselves.
    posts
        How many labelled posts this version scored.
    mean_value, violating
        What the model expects and what the labels say: the shares of violating posts.
    gap
        `mean_value` less `violating`, by authors: above 0 the model expects too many.
    brier
        The mean squared error.
    """

    version: str
    drawn: str
    posts: int
    mean_value: float
    violating: float
    gap: Figure
    brier: Figure


class Doubt(msgspec.Struct, frozen=True):
    """A post whose labels contradict the value of the model most."""

    post_id: str
    label: float
    value: float
    version: str
    raters: Sequence[str]


class LabelReport(msgspec.Struct, frozen=True):
    """All that is told of the labels of a filter; `delays` counts labels by `DELAYS_MS`."""

    posts: int
    labels: int
    left_out: Mapping[str, int]
    delays: Mapping[str, int]
    median_delay_ms: float
    raters: Sequence[RaterRow]
    versions: Sequence[VersionRow]
    doubts: Sequence[Doubt]


class RecordedLabels:
    """Labels first, then posts, then signals."""

    def __init__(self, target: str, names: SignalNames, since_ms: int) -> None:
        self._join = LabelJoin(target, since_ms)
        self._versions: Counter[str] = Counter()
        self._values = NewestSignals(target, names, _value_of)

    def add_label(self, key: bytes | None, value: bytes | None) -> None:
        """Fold a record of `labels`."""
        self._join.add_label(key, value)

    def add_post(self, key: bytes | None, value: bytes | None, at_ms: int) -> None:
        """Fold a record of `posts`; `at_ms` is its timestamp."""
        self._join.add_post(key, value, at_ms)
        if key is not None:
            self._versions[key.decode("utf-8", "replace")] += 1

    def add_signal(self, key: bytes | None, value: bytes | None) -> None:
        """Fold a record of ``signals.<filter>``; what a rule decided is not the model's value."""
        self._values.add(key, value)

    def report(self, doubts: int = 10) -> LabelReport:
        """Compute what is told; of posts that were edited the delay and the raters alone."""
        judged = self._join.judged()
        delays = np.array(
            [label.at_ms - p.created_at_ms for p, labels in judged for label in labels]
        )
        scored = [
            _Scored(post, labels, *value)
            for post, labels in judged
            if self._versions[post.post_id] == 1
            and (value := self._values.get(post.post_id)) is not None
        ]
        return LabelReport(
            posts=len(judged),
            labels=len(delays),
            left_out=self._join.left_out,
            delays=_histogram(delays),
            median_delay_ms=float(np.median(delays)) if len(delays) else 0.0,
            raters=rater_rows(judged),
            versions=_version_rows(scored),
            doubts=_doubts(scored, doubts),
        )


class _ModelValue(NamedTuple):
    """The value that the model gives a post, and the version of the model."""

    value: float
    version: str


def _value_of(signal: Signal) -> _ModelValue | None:
    """Return the model's own value, also where a rule overruled the value."""
    said = signal.overruled if signal.model == RULE_MODEL else signal
    if said is None or said.value is None:
        return None
    return _ModelValue(said.value, said.version)


class _Scored(NamedTuple):
    """A labelled post with the value of the model."""

    post: Post
    labels: Sequence[Label]
    value: float
    version: str

    @property
    def probability(self) -> float | None:
        """That with which it was drawn, None if somebody chose it."""
        drawn = [label.sampling_probability for label in self.labels if label.sampling_probability]
        return max(drawn, default=None)


def _histogram(delays: Values) -> dict[str, int]:
    edges = list(DELAYS_MS.values())
    counts = np.bincount(np.searchsorted(edges, delays, side="right"), minlength=len(edges) + 1)
    return dict(zip([*DELAYS_MS, LONGER], counts.tolist(), strict=True))


def rater_rows(judged: Judged) -> list[RaterRow]:
    """Return a row for each rater, those with the most labels first."""
    said: dict[str, list[bool]] = {}
    # The labels of posts with several raters: post, rater, and whether it violates.
    votes: list[tuple[int, int, bool]] = []
    numbers: dict[str, int] = {}
    for _, labels in judged:
        post = votes[-1][0] + 1 if votes else 0
        for label in labels:
            violates = label.value >= 0.5
            said.setdefault(label.source, []).append(violates)
            if len(labels) > 1:
                rater = numbers.setdefault(label.source, len(numbers))
                votes.append((post, rater, violates))
    agreement = dawid_skene(*zip(*votes, strict=True)) if votes else None
    shared = Counter(number for _, number, _ in votes)
    rows = []
    for name, labels_of in said.items():
        sensitivity = specificity = None
        number = numbers.get(name, -1)
        if agreement is not None and number >= 0:
            sensitivity = float(agreement.sensitivity[number])
            specificity = float(agreement.specificity[number])
        counts = len(labels_of), sum(labels_of), shared[number]
        rows.append(RaterRow(name, *counts, sensitivity, specificity))
    return sorted(rows, key=lambda row: (-row.labels, row.rater))


def _version_rows(scored: Sequence[_Scored]) -> list[VersionRow]:
    by_kind: dict[tuple[str, str], list[_Scored]] = {}
    for one in scored:
        drawn = CHOSEN if one.probability is None else AUDIT
        by_kind.setdefault((one.version, drawn), []).append(one)
    rows = [_version_row(*kind, some) for kind, some in by_kind.items()]
    return sorted(rows, key=lambda row: (row.drawn, -row.posts, row.version))


def _version_row(version: str, drawn: str, rows: Sequence[_Scored]) -> VersionRow:
    values = np.array([row.value for row in rows])
    violates = np.array([_said(row.labels) for row in rows])
    stands_for = np.array([1 / (row.probability or 1.0) for row in rows])

    def measure(weights: Weights) -> Values:
        weights = weights * stands_for
        totals = np.maximum(weights.sum(axis=1), 1e-12)
        columns = np.stack([values, violates, values - violates, (values - violates) ** 2], axis=1)
        means: Values = weights @ columns / totals[:, None]
        return means

    expected, said, gap, brier = Bootstrap([row.post.author_id for row in rows]).figures(measure)
    return VersionRow(version, drawn, len(rows), expected.value, said.value, gap, brier)


def _said(labels: Sequence[Label]) -> float:
    """Return what most raters say, 0.5 for a tie."""
    said = majority(labels)
    return 0.5 if said is None else said


def _doubts(scored: Sequence[_Scored], most: int) -> list[Doubt]:
    rows = [
        Doubt(
            row.post.post_id,
            _said(row.labels),
            row.value,
            row.version,
            [label.source for label in row.labels],
        )
        for row in scored
    ]
    rows.sort(key=lambda row: (-abs(row.value - row.label), row.post_id))
    return [row for row in rows if abs(row.value - row.label) > 0.5][:most]
