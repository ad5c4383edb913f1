"""Which feeds on demand exist where more could than `max_feeds` allows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from typing import Final

from feedmill.events.feeds import pattern_of
from feedmill.rankers.combiner.feed_authors import FeedAuthors

# Authors are counted until so much of the limit would do: not on and off at every post.
_PLENTY: Final = 0.9


class FeedPlaces:
    """The places of each pattern: all feeds have one until they are short.

    Then the authors of each feed are counted, and those have places that `FeedAuthors.placed`
    puts first.

    Parameters
    ----------
    limits
        How many feeds each pattern makes at most.
    declared
        The feeds with settings of their own, which take no place.

    Attributes
    ----------
    counts
        The authors, by the pattern whose places are short.
    uncounted
        Patterns whose places became short: their authors are to be counted.
    """

    def __init__(self, limits: Mapping[str, int], declared: Collection[str] = ()) -> None:
        self.counts: dict[str, FeedAuthors] = {}
        self.uncounted: set[str] = set()
        self._limits = limits
        self._declared = declared
        self._placed: dict[str, set[str]] = {}
        self._refused = 0

    @property
    def refused(self) -> int:
        """How many feeds had no place for the first time since their authors are counted."""
        return self._refused + sum(authors.refused for authors in self.counts.values())

    @property
    def waiting(self) -> dict[str, int]:
        """By pattern how many feeds with a shown post have no place."""
        none = dict.fromkeys(self._limits, 0)
        return none | {pattern: authors.waiting for pattern, authors in self.counts.items()}

    def limit(self, pattern: str) -> int:
        """How many feeds a pattern makes at most."""
        return self._limits[pattern]

    def are_short(self, feed: str) -> bool:
        """Whether a feed does not get a place by its first post alone."""
        pattern = pattern_of(feed)
        return pattern in self.counts or pattern in self.uncounted

    def has_room(self, feed: str, among: Collection[str]) -> bool:
        """Whether a feed gets a place beside these, which it does until they are short."""
        pattern = pattern_of(feed) or ""
        limit = self._limits[pattern]
        if len(among) < limit or sum(map(self._takes_place_of(pattern), among)) < limit:
            return True
        self.uncounted.add(pattern)
        return False

    def _takes_place_of(self, pattern: str) -> Callable[[str], bool]:
        return lambda feed: pattern_of(feed) == pattern and feed not in self._declared

    def keeps(self, feed: str) -> bool:
        """Whether a feed that exists keeps its place."""
        placed = self._placed.get(pattern_of(feed) or "")
        return placed is None or feed in placed

    def give(self) -> Generator[None, None, set[str]]:
        """Give places anew where authors came or went; all feeds that have one by that.

        Yields every few milliseconds.  Meanwhile nothing is forgotten.
        """
        given: set[str] = set()
        for pattern, authors in self.counts.items():
            if authors.has_moved:
                self._placed[pattern] = yield from authors.placed(self._limits[pattern])
            given |= self._placed[pattern]
        return given

    def end_counts(self, feeds: Collection[str]) -> None:
        """Count no more where there are plenty of places, and these feeds are all there are."""
        for pattern in tuple(self.counts):
            placed, authors = self._placed[pattern], self.counts[pattern]
            is_plenty = not authors.waiting and len(placed) < _PLENTY * self._limits[pattern]
            if is_plenty and not authors.has_moved and all(name in feeds for name in placed):
                self._refused += authors.refused
                del self.counts[pattern], self._placed[pattern]

    def follow(self, before: FeedPlaces) -> None:
        """Go on where the places under other settings end."""
        self._refused += before.refused

    def forget(self, groups: Iterable[int]) -> None:
        """These group numbers will stand for other groups."""
        for authors in self.counts.values():
            authors.forget(groups)
