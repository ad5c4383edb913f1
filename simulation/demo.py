"""The preset `demo`: communities, authors, posts and an audience, **all of them simulated**.

It needs no data. Its assumptions are `POST_FRACTIONS` and `ATTENTION` here and `audience.TRAITS`:
fractions of bad posts, latent quality, position bias. Nothing that is measured on it tells anything
about people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from feedmill.events.experiment import MIN_WINDOW_HOURS
from feedmill.events.post import Post
from feedmill.simulation.audience import PLANTED_ARM, Audience, Frontend, SimulatedPost
from feedmill.simulation.post_writer import COMMUNITIES, TOPICS, PostWriter
from feedmill.simulation.schedule import POSTS, EventSchedule, EventSource, ScheduledEvent

DEFAULT_RATE = 5.0

# How much of all posts is of each kind, and how many authors write each; an author writes one kind.
POST_FRACTIONS: Final[Mapping[str, float]] = {
    "ordinary": 0.78,
    "spam": 0.06,
    "nsfw": 0.04,
    "false": 0.04,
    "clickbait": 0.08,
}
AUTHORS: Final[Mapping[str, int]] = {
    "ordinary": 160,
    "spam": 12,
    "nsfw": 8,
    "false": 8,
    "clickbait": 12,
}

# The fraction of ordinary authors who write German, in communities that have a second language.
_GERMAN_FRACTION = 0.3
# With it a few impressions of a hundred are clicked.
ATTENTION = 0.2
# Without a rate, posts still need times to be ordered among the engagements.
_UNPACED_RATE = 1000.0


def demo_experiment(salt: str) -> dict[str, Any]:
    """Return an experiment on the demo's readers, with an effect that is planted in them."""
    weights = {"quality": 0.8, "engagement": 0.2}
    return {
        "arms": [
            {"name": "control", "share": 5000},
            {"name": PLANTED_ARM, "share": 5000, "weights": weights},
        ],
        "feeds": ["global"],
        "salt": salt,
        "planned_n": 1000,
        "window_hours": MIN_WINDOW_HOURS,
        "guardrails": {"reporters": 0.5},
    }


@dataclass(frozen=True)
class Author:
    """An author, who writes posts of one kind; `skill` in [0, 1] is their mean quality."""

    author_id: str
    kind: str
    community: int
    lang: str
    skill: float


@dataclass
class DemoPosts:
    """Draws the authors once, then one post after the other.

    `run` becomes part of the post ids.
    """

    run: str
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self._writer = PostWriter(self.rng)
        # Numbers are random, so that a name does not reveal the kind.
        numbers = iter(self.rng.permutation(sum(AUTHORS.values())))
        self.authors = {
            kind: [self._draw_author(kind, int(next(numbers))) for _ in range(count)]
            for kind, count in AUTHORS.items()
        }
        self._kinds = tuple(POST_FRACTIONS)
        self._cumulative = np.cumsum(list(POST_FRACTIONS.values()))

    def post(self, number: int) -> tuple[Post, SimulatedPost]:
        """The next post, as it is sent and as the audience perceives it."""
        drawn = self.rng.random() * 0.999_999
        kind = self._kinds[int(np.searchsorted(self._cumulative, drawn))]
        group = self.authors[kind]
        author = group[int(self.rng.integers(len(group)))]
        quality = float(np.clip(author.skill + self.rng.normal(0, 0.15), 0.0, 1.0))
        community = COMMUNITIES[author.community]
        if kind == "ordinary":
            text, links = self._writer.ordinary(community, author.lang, quality), None
        else:
            quality *= 0.2
            text, links = self._writer.bad(kind, community)
        post_id = f"demo-{self.run}-{number}"
        post = Post(
            post_id,
            author.author_id,
            0,
            text,
            lang=author.lang,
            links=links,
            communities=(community,),
        )
        return post, SimulatedPost(post_id, kind, author.community, author.lang, quality)

    def _draw_author(self, kind: str, number: int) -> Author:
        community = int(self.rng.integers(len(COMMUNITIES)))
        may_be_german = kind == "ordinary" and (COMMUNITIES[community], "de") in TOPICS
        german = may_be_german and self.rng.random() < _GERMAN_FRACTION
        return Author(
            f"author-{number}",
            kind,
            community,
            "de" if german else "en",
            float(self.rng.beta(2, 2)),
        )


def open_demo(
    *,
    posts: int,
    rate: float,
    audience: float,
    run: str,
    rng: np.random.Generator,
    frontend: Frontend | None = None,
) -> EventSource:
    """Open the demo's stream of posts and engagements; it needs constant memory.

    Parameters
    ----------
    posts
        How many posts; 0 for a stream without an end.
    rate, audience
        Posts per second and engagements per second, on average over some seconds. With a rate of
        0 every event is due at once.
    run
        Part of every post id and event id.
    rng
        The source of all randomness.
    frontend
        Serves the audience a feed of feedmill's, instead of a slate of its own.
    """
    demo_posts = DemoPosts(run, rng)
    visitors = Audience(run, len(COMMUNITIES), rng, frontend, ATTENTION)
    paced = _events(demo_posts, visitors, posts, rate or _UNPACED_RATE, audience)
    if rate:
        return EventSource(paced, posts or None)
    at_once = (scheduled._replace(due_s=0.0) for scheduled in paced)
    return EventSource(at_once, posts or None)


def _events(
    demo_posts: DemoPosts, visitors: Audience, posts: int, rate: float, audience: float
) -> Iterator[ScheduledEvent]:
    """Posts at their rate, visits of the audience in between; in the order of their times."""
    schedule = EventSchedule()
    visit_s = 0.0
    number = 0
    while not posts or number < posts:
        post_s = number / rate
        while audience and visit_s < post_s:
            yield from schedule.until(visit_s)
            events = visitors.visit(visit_s)
            schedule.add(events)
            # The next visit starts after as long as the engagements of this one take at the rate.
            visit_s += max(1, len(events)) / audience
        yield from schedule.until(post_s)
        number += 1
        post, simulated = demo_posts.post(number)
        yield ScheduledEvent(post_s, POSTS, post)
        visitors.publish(simulated, post_s)
    yield from schedule.rest()
