"""The audit: posts drawn at random from all, whose labels can veto the release of a challenger.

Labels that people chose to give are not a sample: reports come from what feeds show, and raters may
act together.  Here each post was drawn with a known probability before any gate, so that weights of
the inverse probability make the rows a sample of all posts (Horvitz and Thompson 1952).  No
challenger learns from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from feedmill.events.label import Label
from feedmill.events.post import Post
from feedmill.training.label_join import majority

Judged = Sequence[tuple[Post, Sequence[Label]]]


class AuditedPost(NamedTuple):
    """A post of the audit, 1 where it violates, and the probability with which it was drawn."""

    post: Post
    label: float
    probability: float


def audited_posts(
    judged: Judged, label_of: Callable[[Sequence[Label]], float] = majority
) -> list[AuditedPost]:
    """Return the posts of the audit, each with what `label_of` makes of its labels in the audit."""
    rows = []
    for post, labels in judged:
        drawn = [label for label in labels if label.sampling_probability is not None]
        if drawn:
            probability = max(label.sampling_probability or 0.0 for label in drawn)
            rows.append(AuditedPost(post, label_of(drawn), probability))
    return rows


def without_audit(judged: Judged) -> list[tuple[Post, Sequence[Label]]]:
    """Return the other posts, from which challengers may learn."""
    return [
        (post, labels)
        for post, labels in judged
        if all(label.sampling_probability is None for label in labels)
    ]
