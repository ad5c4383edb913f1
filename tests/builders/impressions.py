"""First impressions of made-up posts, half of which are clicked three times as often."""

from dataclasses import replace

import numpy as np

from builders.training_data import WORDS
from feedmill.events.post import Post
from feedmill.features.authorship import author_keys
from feedmill.rankers.impressions import Impressions

START_MS = 1_700_000_000_000
RATE, BETTER_RATE = 0.08, 0.24
BETTER, WORSE = "wonderful", "something"


def planted_posts(count: int, seed: int) -> list[Post]:
    """Posts a second apart; every other one ends with `BETTER`, the others with `WORSE`."""
    random = np.random.default_rng(seed)
    return [
        Post(
            f"p{i}",
            "ann",
            START_MS + 1000 * i,
            " ".join([*random.choice(WORDS, 9), BETTER if i % 2 else WORSE]),
        )
        for i in range(count)
    ]


def planted_impressions(count: int, users: int, seed: int, likes: float = 0.0) -> Impressions:
    """Each of so many users is shown each of so many posts, in an order of their own.

    A user who clicks likes with a probability of `likes`.
    """
    random = np.random.default_rng(seed)
    posts = planted_posts(count, seed)
    versions = np.concatenate([random.permutation(count) for _ in range(users)])
    clicked = random.random(len(versions)) < np.where(versions % 2, BETTER_RATE, RATE)
    reactions = np.zeros((len(versions), 4), dtype=np.bool_)
    reactions[:, 0], reactions[:, 1] = clicked, clicked & (random.random(len(versions)) < likes)
    shown_before, clicks_before = np.zeros(count), np.zeros(count)
    before = np.zeros((2, len(versions)))
    for row, (version, click) in enumerate(zip(versions.tolist(), clicked.tolist(), strict=True)):
        before[:, row] = clicks_before[version], shown_before[version]
        shown_before[version] += 1
        clicks_before[version] += click
    at_ms = START_MS + 1000 * count + np.arange(len(versions))
    weights = np.ones(len(versions))
    counts = (before[0], before[1])
    return Impressions(posts, versions, at_ms, weights, *counts, reactions, author_keys(posts))


def impressions_in_turn(count: int, users: int, seed: int) -> Impressions:
    """Each post is shown to all users within the second after it was created."""
    rows = planted_impressions(count, users, seed)
    user = np.arange(len(rows)) // count
    return replace(rows, at_ms=START_MS + 1000 * rows.versions + 10 * user)
