"""Of which parts of all posts, a language or a community, the verdicts of models are.

Signals say neither, and may be read before their posts: the last posts are kept, each with the
first verdict of each filter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from feedmill.events.post import Post
from feedmill.streams.kafka.topic_table import DAY_MS

# What a post weighs here: some 500 bytes.
MOST_POSTS = 50_000
# How many parts are watched at most; of one with fewer posts nothing is to be learned.
MOST_PARTS = 100
LEAST_POSTS = 100


class PostVerdict(NamedTuple):
    """The first verdict of a filter on a post: its version and its value."""

    name: str
    version: str
    value: float


class BusyParts:
    """The parts with the most posts, in bounded memory (Misra and Gries 1982).

    A part with more than one in `most` + 1 of all posts is always among them, whatever others are
    called.  Each day counts half of the next day.
    """

    def __init__(self, most: int = MOST_PARTS) -> None:
        self._most = most
        self._counts: dict[str, int] = {}
        self._day = 0

    def take(self, part: str, at_ms: int) -> None:
        """Count a post of a part."""
        if at_ms // DAY_MS > self._day:
            self._day = at_ms // DAY_MS
            self._counts = {name: n // 2 for name, n in self._counts.items() if n > 1}
        if part in self._counts or len(self._counts) < self._most:
            self._counts[part] = self._counts.get(part, 0) + 1
        else:
            self._counts = {name: n - 1 for name, n in self._counts.items() if n > 1}

    def keep(self, part: str) -> None:
        """Go on watching a part after a restart."""
        self._counts[part] = max(LEAST_POSTS, self._counts.get(part, 0))

    def is_watched(self, part: str) -> bool:
        """Whether the part is among the parts with the most posts, and has enough of them."""
        return self._counts.get(part, 0) >= LEAST_POSTS

    def __contains__(self, part: str) -> bool:
        return part in self._counts


class _Known(NamedTuple):
    verdicts: dict[str, PostVerdict]
    # Empty until the post is read; "" stands for all posts.
    parts: list[str]


class PostParts:
    """Joins posts and verdicts, in whatever order they come.

    Attributes
    ----------
    busy
        The parts that are watched.
    """

    def __init__(self, most_posts: int = MOST_POSTS) -> None:
        self.busy = BusyParts()
        self._most = most_posts
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def take_post(self, post: Post, at_ms: int) -> Iterator[tuple[PostVerdict, list[str]]]:
        """Take a post; yield the verdicts that waited for it, each with the parts of the post."""
        known = self._find(post.post_id)
        if known.parts:
            return
        named = [f"lang:{post.lang}"] if post.lang else []
        named += [f"community:{name}" for name in dict.fromkeys(post.communities or ())]
        for part in named:
            self.busy.take(part, at_ms)
        known.parts.extend(["", *named])
        for verdict in known.verdicts.values():
            yield verdict, known.parts

    def take_verdict(self, post_id: str, verdict: PostVerdict) -> list[str]:
        """Take a verdict; return the parts of its post, none if it waits or is not the first."""
        known = self._find(post_id)
        if verdict.name in known.verdicts:
            return []
        known.verdicts[verdict.name] = verdict
        return known.parts

    def _find(self, post_id: str) -> _Known:
        known = self._known.get(post_id)
        if known is None:
            known = self._known[post_id] = _Known({}, [])
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return known
