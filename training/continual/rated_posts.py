"""Labelled posts with the raters who labelled them, none of whom may speak for all; and the audit.

A rater is the `source` of a label.  A rater who floods the topic, or is wrong all the time, has a
part of the rows at most; `independent_rows` says which are independent of each other.

The audit is posts drawn at random from all, whose labels can veto the release of a challenger.
Labels that people chose to give are not a sample: reports come from what feeds show, and raters may
act together.  Each post of the audit was drawn with a known probability before any gate, so that
weights of the inverse probability make the rows a sample of all posts (Horvitz and Thompson 1952).
No challenger learns from the audit.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from feedmill.events.label import Label
from feedmill.events.post import Post
from feedmill.features.minhash import (
    MIN_COPY_SIMILARITY,
    SignatureBatch,
    is_long_enough,
    minhash,
    similarity,
)
from feedmill.features.text.ngrams import five_grams
from feedmill.training.arrays import Values
from feedmill.training.datasets.labelled_posts import text_fingerprint
from feedmill.training.label_join import majority

Judged = Sequence[tuple[Post, Sequence[Label]]]
# Makes one label of those of a post; None: the post is left out.
LabelOf = Callable[[Sequence[Label]], float | None]


class AuditedPost(NamedTuple):
    """A post of the audit, 1 where it violates, and the probability with which it was drawn."""

    post: Post
    label: float
    probability: float


def audited_posts(judged: Judged, label_of: LabelOf = majority) -> list[AuditedPost]:
    """Return the posts of the audit, each with what `label_of` makes of its labels in the audit."""
    rows = []
    for post, labels in judged:
        drawn = [label for label in labels if label.sampling_probability is not None]
        one = label_of(drawn) if drawn else None
        if one is not None:
            probability = max(label.sampling_probability or 0.0 for label in drawn)
            rows.append(AuditedPost(post, one, probability))
    return rows


def audit_weights(rows: Sequence[AuditedPost]) -> Values:
    """Return the weight of each audited post, (rows,): the inverse of its probability, 1 at most.

    1 is that of the tenth with the lowest probabilities, so that no single row makes all others
    weigh nothing.
    """
    probabilities: Values = np.array([row.probability for row in rows])
    lowest = np.quantile(probabilities, 0.1, method="higher")
    return np.minimum(lowest / probabilities, 1.0)


def without_audit(judged: Judged) -> list[tuple[Post, Sequence[Label]]]:
    """Return the other posts, from which challengers may learn."""
    return [
        (post, labels)
        for post, labels in judged
        if all(label.sampling_probability is None for label in labels)
    ]


# A rater has so many labels at most, or so many for each label of the others if that is more: nine
# raters are each allowed an equal part.
_FREE_LABELS, _MOST_OF_OTHERS = 20, 0.125


class RatedPost(NamedTuple):
    """One post, 1 where it violates, who said so (in the order of time), and when last.

    Of a ranker the label is a rating in [0, 1].
    """

    post: Post
    label: float
    raters: tuple[str, ...]
    at_ms: int


def rated_posts(judged: Judged, label_of: LabelOf = majority) -> list[RatedPost]:
    """Return the posts that have labels left once no rater has too many, in the order of time.

    Which of a flooding rater's labels stay is drawn by a hash of the post's id.  Of posts with the
    same text the first is taken.  Posts of the audit are left out.  `label_of` makes one label of
    those of a post.
    """
    judged = without_audit(judged)
    by_rater: dict[str, list[str]] = {}
    for post, labels in judged:
        for label in labels:
            by_rater.setdefault(label.source, []).append(post.post_id)
    kept = {rater: _kept(ids, most) for rater, ids, most in _limits(by_rater)}
    rows = []
    for post, labels in judged:
        counted = [label for label in labels if post.post_id in kept[label.source]]
        counted.sort(key=lambda label: (label.at_ms, label.source))
        one = label_of(counted) if counted else None
        if one is not None:
            raters = tuple(label.source for label in counted)
            rows.append(RatedPost(post, one, raters, counted[-1].at_ms))
    rows.sort(key=lambda row: (row.at_ms, row.post.post_id))
    first = {text_fingerprint(row.post.text): row for row in reversed(rows)}
    return [row for row in rows if first[text_fingerprint(row.post.text)] is row]


def _limits(by_rater: dict[str, list[str]]) -> list[tuple[str, list[str], int]]:
    """Return for each rater the posts, and how many of them may count."""
    every = sum(map(len, by_rater.values()))
    return [
        (rater, ids, max(_FREE_LABELS, int(_MOST_OF_OTHERS * (every - len(ids)))))
        for rater, ids in by_rater.items()
    ]


def _kept(post_ids: Sequence[str], most: int) -> frozenset[str]:
    if len(post_ids) <= most:
        return frozenset(post_ids)
    return frozenset(sorted(post_ids, key=lambda i: (zlib.crc32(i.encode()), i))[:most])


def independent_rows(rated: Sequence[RatedPost]) -> list[list[int]]:
    """Return for each rater, in the order of time, the places of the rows that are independent.

    Those are the rows of which nothing was with an earlier rater: no author and no near copy.  A
    post that several rated is with the one who comes first.
    """
    clusters = near_copy_clusters([row.post.text for row in rated])
    order = {r: n for n, r in enumerate(dict.fromkeys(r for row in rated for r in row.raters))}
    of_rater: dict[int, list[int]] = {}
    for place, row in enumerate(rated):
        of_rater.setdefault(min(order[rater] for rater in row.raters), []).append(place)
    authors, seen = set[str](), set[int]()
    found = []
    for _, rows in sorted(of_rater.items()):
        found.append(
            [n for n in rows if rated[n].post.author_id not in authors and clusters[n] not in seen]
        )
        authors |= {rated[n].post.author_id for n in rows}
        seen |= {clusters[n] for n in rows}
    return found


def near_copy_clusters(texts: Sequence[str]) -> list[int]:
    """Return for each text the place of the first text of its cluster.

    A text joins the cluster of the first earlier text that it is a near copy of.  Short texts are
    compared letter by letter, since a near copy of one may be a coincidence.
    """
    signatures = minhash(five_grams(texts))
    by_bucket: dict[int, list[int]] = {}
    exact: dict[str, int] = {}
    cluster_of: list[int] = []
    for place, text in enumerate(texts):
        first = exact.setdefault(text_fingerprint(text), place)
        buckets: list[int] = []
        if signatures.comparable[place] and is_long_enough(text):
            buckets = signatures.buckets[place].tolist()
            first = min(first, _first_copy(signatures, place, buckets, by_bucket))
        cluster_of.append(place if first == place else cluster_of[first])
        for bucket in buckets:
            by_bucket.setdefault(bucket, []).append(place)
    return cluster_of


def _first_copy(
    signatures: SignatureBatch, place: int, buckets: list[int], by_bucket: dict[int, list[int]]
) -> int:
    """Return the first earlier text that this one is a near copy of, else itself."""
    earlier = sorted({other for bucket in buckets for other in by_bucket.get(bucket, ())})
    if not earlier:
        return place
    rows = np.array(earlier)
    alike = similarity(signatures.signatures[rows], signatures.signatures[place : place + 1])
    copies = np.flatnonzero(alike >= MIN_COPY_SIMILARITY)
    return earlier[int(copies[0])] if len(copies) else place
