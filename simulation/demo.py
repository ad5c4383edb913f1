"""The preset `demo`: communities, authors, posts and an audience, **all of it simulated**.

It needs no data.  What is planted (shares of bad posts, latent quality, position bias) stands
in `SHARES` here and in `audience.TRAITS`; nothing measured on it says anything about people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from feedmill.events.post import Post
from feedmill.simulation.audience import Audience, SimulatedPost
from feedmill.simulation.phrases import COMMUNITIES, TOPICS
from feedmill.simulation.schedule import POSTS, EventSchedule, EventSource, ScheduledEvent
from feedmill.simulation.writing import PostWriter

DEFAULT_RATE = 5.0

# Of all posts; and of the authors, who each write posts of one kind.
SHARES: Final[Mapping[str, float]] = {
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

# Of the posts of authors whose community has a second language.
_GERMAN = 0.3
# Without a rate posts still need an order among the engagements.
_UNPACED_RATE = 1000.0


@dataclass(frozen=True)
class Author:
    """Somebody who writes one kind of post, better or worse."""

    author_id: str
    kind: str
    community: int
    lang: str
    skill: float


@dataclass
class Demo:
    """Draws authors once, then their posts one by one."""

    run: str
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self._writing = PostWriter(self.rng)
        # Numbered at random, so that a name gives nothing away.
        numbers = iter(self.rng.permutation(sum(AUTHORS.values())))
        self.authors = {
            kind: [self._draw_author(kind, int(next(numbers))) for _ in range(count)]
            for kind, count in AUTHORS.items()
        }
        self._kinds = tuple(SHARES)
        self._shares = np.cumsum(list(SHARES.values()))

    def post(self, number: int) -> tuple[Post, SimulatedPost]:
        """The next post, with its truth."""
        kind = self._kinds[int(np.searchsorted(self._shares, self.rng.random() * 0.999_999))]
        group = self.authors[kind]
        author = group[int(self.rng.integers(len(group)))]
        quality = float(np.clip(author.skill + self.rng.normal(0, 0.15), 0.0, 1.0))
        community = COMMUNITIES[author.community]
        if kind == "ordinary":
            text, links = self._writing.ordinary(community, author.lang, quality), None
        else:
            quality *= 0.2
            text, links = self._writing.bad(kind, community)
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
        second = kind == "ordinary" and (COMMUNITIES[community], "de") in TOPICS
        german = second and self.rng.random() < _GERMAN
        return Author(
            f"author-{number}",
            kind,
            community,
            "de" if german else "en",
            float(self.rng.beta(2, 2)),
        )


def open_demo(
    *, posts: int, rate: float, audience: float, run: str, rng: np.random.Generator
) -> EventSource:
    """A stream without an end (`posts` 0), in constant memory.

    `rate` and `audience` are posts and engagements a second, on average over some seconds.
    """
    paced = EventSource(
        _stream(Demo(run, rng), posts, rate or _UNPACED_RATE, audience), posts or None
    )
    if rate:
        return paced
    at_once = (timed and timed._replace(due_s=0.0) for timed in paced.events)
    return EventSource(at_once, posts or None)


def _stream(demo: Demo, posts: int, rate: float, audience: float) -> Iterator[ScheduledEvent]:
    readers = Audience(demo.run, len(COMMUNITIES), demo.rng)
    agenda = EventSchedule()
    visit_s = 0.0
    number = 0
    while not posts or number < posts:
        post_s = number / rate
        while audience and visit_s < post_s:
            yield from agenda.until(visit_s)
            events = readers.visit(visit_s)
            agenda.add(events)
            # A visit takes as long as its engagements may: that keeps the pace exactly.
            visit_s += len(events) / audience
        yield from agenda.until(post_s)
        number += 1
        post, truth = demo.post(number)
        yield ScheduledEvent(post_s, POSTS, post)
        readers.publish(truth, post_s)
    yield from agenda.rest()
