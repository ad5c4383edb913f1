"""Seeded impressions of made-up posts, to try challengers of engagement on.

A post is on one of two topics, which its words show; the words otherwise say a little of how often
it is clicked.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from builders.label_simulation import ordinary_text
from feedmill.events.post import Post
from feedmill.features.authorship import author_keys
from feedmill.features.counters import Counters, update
from feedmill.rankers.engagement import clicks_and_impressions
from feedmill.rankers.impressions import Impressions

# Of "shift" the clicks of one topic double; of "flood" one user sees every post and clicks those of
# the other topic, thousands of them; of "both" both happen.
Scenario = Literal["none", "shift", "flood", "both"]
SCENARIOS: tuple[Scenario, ...] = ("none", "shift", "flood", "both")
START_MS = 1_700_000_000_000
DAY_MS = 86_400_000
RATE = 0.1
_TOPIC, _OTHER = ("harvest", "orchard", "tractor"), ("server", "compiler", "keyboard")
_TOPIC_PART = 0.4
# By how much the words of a post lift its clicks, in log; the text cannot tell all of it.
_SPREAD_OF_POSTS = 0.2


@dataclass(frozen=True)
class Size:
    """How many posts, authors and users there are, and impressions of each post on average."""

    posts: int = 4_000
    authors: int = 3_000
    users: int = 12_000
    impressions: int = 20


def simulated_impressions(
    scenario: Scenario, seed: int, size: Size | None = None, *, days: int = 7, start_day: int = 0
) -> Impressions:
    """Return impressions of some days, in the order of time; each post is shown for a day."""
    size = size or Size()
    random = np.random.default_rng((seed, start_day + 10_000))
    is_topic = random.random(size.posts) < _TOPIC_PART
    created = np.sort(random.integers(0, max(1, (days - 1) * DAY_MS), size.posts))
    created += START_MS + start_day * DAY_MS
    posts = [
        Post(
            f"d{start_day}-p{n}",
            f"author-{random.integers(size.authors)}",
            int(created[n]),
            _text(random, topic=bool(is_topic[n])),
        )
        for n in range(size.posts)
    ]
    rates = RATE * np.exp(random.normal(0, _SPREAD_OF_POSTS, size.posts))
    if scenario in ("shift", "both"):
        rates = np.where(is_topic, 2 * rates, rates)
    counts = random.poisson(size.impressions, size.posts)
    versions = np.repeat(np.arange(size.posts), counts)
    users = np.concatenate([random.choice(size.users, n, replace=False) for n in counts])
    clicked = random.random(len(versions)) < rates[versions]
    if scenario in ("flood", "both"):
        versions = np.concatenate([versions, np.arange(size.posts)])
        users = np.concatenate([users, np.full(size.posts, size.users)])
        clicked = np.concatenate([clicked, ~is_topic])
    at_ms = created[versions] + random.integers(0, DAY_MS, len(versions))
    order = np.argsort(at_ms, kind="stable")
    return _counted(posts, versions[order], at_ms[order], users[order], clicked[order])


def _text(random: np.random.Generator, *, topic: bool) -> str:
    words = ordinary_text(random).split()
    at = int(random.integers(1, len(words)))
    return " ".join([*words[:at], *random.choice(_TOPIC if topic else _OTHER, 2), *words[at:]])


def _counted(
    posts: list[Post],
    versions: np.ndarray,
    at_ms: np.ndarray,
    users: np.ndarray,
    clicked: np.ndarray,
) -> Impressions:
    """Count what was known of each post before each impression; a click comes at once."""
    counters = [Counters() for _ in posts]
    before: list[Counters] = []
    for version, ms, click in zip(versions.tolist(), at_ms.tolist(), clicked.tolist(), strict=True):
        one = counters[version]
        before.append(Counters([*one.counts], [*one.sums], [*one.at_ms], 0))
        update(one, "impression", ms, 0)
        if click:
            update(one, "click", ms, 0)
    clicks, impressions = clicks_and_impressions(before)
    reactions = np.zeros((len(versions), 4), dtype=np.bool_)
    reactions[:, 0] = clicked
    authors = author_keys(posts)
    return Impressions(
        posts,
        versions,
        at_ms,
        np.ones(len(versions)),
        clicks,
        impressions,
        reactions,
        authors,
        users=users.astype(np.int64),
    )
