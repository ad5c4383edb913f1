"""What a log demands, what an engine shows, and how many things of the second are wrong.

Nothing here talks to Kafka or Redis.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from builders.contract_score import BASES, LARGEST_FEED, ranking
from builders.engine import KINDS

Json = dict[str, Any]
Entries = Sequence[tuple[str, float]]
Position = tuple[str, int, int]

NEAR = 1e-9


@dataclass(frozen=True)
class LivePost:
    """The newest version of a post that is not deleted."""

    post_id: str
    offset: int
    author_id: str
    created_ms: int
    feeds: frozenset[str]
    is_hidden: bool = False


@dataclass(frozen=True)
class Expected:
    """What follows from the log: posts, counts by post in the order of kinds, bad records."""

    posts: Mapping[str, LivePost]
    counts: Mapping[str, list[int]]
    bad_records: frozenset[Position] = frozenset()


@dataclass(frozen=True)
class Found:
    """What an engine shows.

    `truths` are Redis's posts, `feeds` the entries and `:info` of each feed, `signals` the last
    record of every post on each `signals.<name>`, `counts` those of `counters`.
    """

    truths: Mapping[str, Json]
    feeds: Mapping[str, tuple[Entries, Mapping[str, str]]]
    signals: Mapping[str, dict[str, Json]]
    counts: Mapping[str, list[int]]
    dead_letters: Sequence[Position] = ()


@dataclass
class Verdict:
    """How many things were lost, counted twice, or stand in the wrong place; some of them named."""

    lost: int = 0
    double: int = 0
    wrong_order: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.double or self.wrong_order)

    def add(self, column: str, number: int, example: str) -> None:
        """Count what is wrong in a column."""
        if number:
            setattr(self, column, getattr(self, column) + number)
            self.examples.append(f"{column}: {example}")

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(
            self.lost + other.lost,
            self.double + other.double,
            self.wrong_order + other.wrong_order,
            self.examples + other.examples,
        )


def judge(expected: Expected, found: Found) -> Verdict:
    """Compare everything; with all zeros nothing was lost, nothing counted twice."""
    verdict = Verdict()
    _judge_posts(expected, found, verdict)
    _judge_counts(expected, found, verdict)
    _judge_dead_letters(expected, found, verdict)
    for name, (entries, info) in found.feeds.items():
        wanted = expected_feed(expected, found, name, info)
        verdict.add("wrong_order", differences(wanted, entries), f"feed {name}")
    return verdict


def _judge_posts(expected: Expected, found: Found, verdict: Verdict) -> None:
    for post_id, post in expected.posts.items():
        truth = found.truths.get(post_id, {})
        verdict.add("lost", int(not truth), f"post {post_id} is not in Redis")
        for name, signals in found.signals.items():
            last, shown = signals.get(post_id, {}), truth.get(name, {})
            if name in BASES and not last:
                # It is the base unless it was counted.
                counts = dict(zip(KINDS, expected.counts.get(post_id, ()), strict=False))
                text = f"{name} of {post_id}@{post.offset}: the topic has none, Redis {shown}"
                verdict.add("lost", int(bool(counts.get(name) or shown)), text)
            elif last.get("post_offset") != post.offset:
                verdict.add("lost", 1, f"{name} of {post_id}@{post.offset}, the topic has {last}")
            elif any(shown.get(part) != last[part] for part in ("value", "post_offset")):
                verdict.add("lost", 1, f"{name} of {post_id}: {last} is in Redis {shown}")
    for post_id in found.truths.keys() - expected.posts.keys():
        verdict.add("double", 1, f"deleted post {post_id} is in Redis")
    for name, signals in found.signals.items():
        left = signals.keys() - expected.posts.keys()
        verdict.add("double", len(left), f"{name} of deleted posts {sorted(left)[:3]}")


def _judge_counts(expected: Expected, found: Found, verdict: Verdict) -> None:
    for post_id, wanted in expected.counts.items():
        counts = found.counts.get(post_id, [0] * len(wanted))
        gaps = [have - want for have, want in zip(counts, wanted, strict=True)]
        text = f"counts of {post_id} are {counts}, not {wanted}"
        verdict.add("lost", -sum(gap for gap in gaps if gap < 0), text)
        verdict.add("double", sum(gap for gap in gaps if gap > 0), text)


def _judge_dead_letters(expected: Expected, found: Found, verdict: Verdict) -> None:
    written = Counter(found.dead_letters)
    missing = expected.bad_records - written.keys()
    verdict.add("lost", len(missing), f"no dead letter of {sorted(missing)[:3]}")
    more = written - Counter(expected.bad_records)
    verdict.add("double", more.total(), f"dead letters too many: {sorted(more)[:3]}")


def expected_feed(
    expected: Expected, found: Found, name: str, info: Mapping[str, str]
) -> list[tuple[str, float]]:
    """The ranking of a feed by the log: posts by `posts`, values by `signals.*`, best first.

    A feed that is not there is judged by the weights and gates of the global one.
    """
    members = {
        post_id: _truth(post, found)
        for post_id, post in expected.posts.items()
        if name in post.feeds
    }
    info = info or found.feeds["global"][1]
    return ranking(members, info)[:LARGEST_FEED] if info else [(p, 0.0) for p in members]


def _truth(post: LivePost, found: Found) -> Json:
    signals = {
        name: last[post.post_id] for name, last in found.signals.items() if post.post_id in last
    }
    return {
        "post_offset": post.offset,
        "author_id": post.author_id,
        "created_ms": post.created_ms,
        **({"override": {"verdict": "hide"}} if post.is_hidden else {}),
        **signals,
    }


def differences(wanted: Entries, found: Entries) -> int:
    """How many places of two rankings have another post, or a score that is not the same."""
    same = sum(
        post == other and math.isclose(score, score_too, rel_tol=0, abs_tol=NEAR)
        for (post, score), (other, score_too) in zip(wanted, found, strict=False)
    )
    return max(len(wanted), len(found)) - same
