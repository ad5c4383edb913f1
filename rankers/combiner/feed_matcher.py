"""The group of a post, and which feeds take it under one state of the settings `feeds/*`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

from msgspec import Struct

from feedmill.events.feeds import FEED_PATTERNS, FeedSpec, pattern_of
from feedmill.events.partition import ALL_SHARDS, SHARDS, of_shards, shard_of
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.rankers.score import HOUR_MS

_INDEXED_FEEDS = 256


class PostGroup(Struct, frozen=True, gc=False):
    """What decides, beside the author, which feeds a post may be in; many posts share one group."""

    communities: tuple[str, ...]
    lang: str | None
    is_reply: bool

    @classmethod
    def of(cls, post: Post) -> PostGroup:
        """The group of a post."""
        communities = post.communities or ()
        if len(communities) > 1:
            communities = tuple(dict.fromkeys(communities))
        return cls(communities, post.lang, post.in_reply_to is not None)


class FeedMatcher:
    """The feeds of each group, each computed once; of some shards alone.

    Attributes
    ----------
    shards
        There are no feeds of other shards.
    named
        By name the feeds that exist whether they have posts or not.
    longest_window_ms
        The longest window of any feed of any shard, or feed that may yet be made.
    """

    def __init__(self, settings: Settings, shards: AbstractSet[int] = ALL_SHARDS) -> None:
        declared = {name: spec for name, spec in settings.feeds.items() if "*" not in name}
        specs = {"global": _spec(settings, "global"), **declared}
        self.shards = shards
        self.named: Mapping[str, FeedSpec] = _of(shards, specs)
        self._of_all_shards = specs
        self._index = _FeedIndex(self.named)
        self._patterns = {pattern: _spec(settings, pattern) for pattern in FEED_PATTERNS}
        self._by_group: dict[int, tuple[str, ...]] = {}
        windows = [spec.window_hours for spec in (*specs.values(), *self._patterns.values())]
        self.longest_window_ms = int(max(windows) * HOUR_MS)

    @property
    def is_prepared(self) -> bool:
        """Whether `feeds_of` answers at once."""
        return self._index.is_complete

    def prepare(self) -> bool:
        """Prepare `feeds_of` for some feeds, a millisecond; return whether more are left."""
        self._index.add_some()
        return not self._index.is_complete

    def feeds_of(self, number: int, groups: Any) -> tuple[str, ...]:
        """Return the names of all feeds that take posts of this group, whoever the authors are.

        `groups` gives the group by its number.  A feed on demand is among them whether it exists or
        not.
        """
        feeds = self._by_group.get(number)
        if feeds is None:
            feeds = self._by_group[number] = tuple(self._match(groups[number]))
        return feeds

    def spec_of(self, feed: str) -> FeedSpec:
        """What goes into a feed that `feeds_of` named."""
        spec = self.named.get(feed)
        return self._patterns[pattern_of(feed) or ""] if spec is None else spec

    def lose(self, shards: AbstractSet[int]) -> None:
        """Have no feeds of these shards any more."""
        self.shards = self.shards - shards
        self.named = _of(self.shards, self.named)
        self._by_group.clear()

    def may_have(self, feed: str) -> bool:
        """Whether there can be a feed of this name."""
        if feed in self.named:
            return True
        return pattern_of(feed) is not None and shard_of(feed) in self.shards

    def forget(self, numbers: Iterable[int]) -> None:
        """Drop what is known of groups whose numbers will stand for others."""
        for number in numbers:
            self._by_group.pop(number, None)

    def is_on_demand(self, feed: str) -> bool:
        """Whether a feed, of any shard, exists only while a post is shown in it."""
        return feed not in self._of_all_shards

    def places(self) -> dict[str, int]:
        """By pattern, how many feeds it makes at most in a shard."""
        return {pattern: spec.places for pattern, spec in self._patterns.items()}

    def window_ms(self, pattern: str) -> int:
        """The window of all feeds that a pattern makes."""
        return int(self._patterns[pattern].window_hours * HOUR_MS)

    def on_demand_of(self, pattern: str, group: PostGroup) -> tuple[str, ...]:
        """The feeds on demand of a pattern, of any shard, that take posts of a group."""
        if group.is_reply and not self._patterns[pattern].include_replies:
            return ()
        langs = () if group.lang is None else (group.lang,)
        values = {"community:*": group.communities, "lang:*": langs}[pattern]
        # Many groups share the text of a name.
        names = (sys.intern(pattern.replace("*", value)) for value in values)
        return tuple(filter(self.is_on_demand, names))

    def _match(self, group: PostGroup) -> Iterator[str]:
        while self.prepare():
            pass
        for name in self._index.candidates(group):
            spec = self.named.get(name)  # None after its shard was lost
            if spec is not None and accepts(name, spec, group):
                yield name
        for pattern in FEED_PATTERNS:
            names = self.on_demand_of(pattern, group)
            yield from (name for name in names if shard_of(name) in self.shards)


def _of(shards: AbstractSet[int], specs: Mapping[str, FeedSpec]) -> Mapping[str, FeedSpec]:
    if len(shards) == SHARDS:
        return specs
    return {name: specs[name] for name in of_shards(specs, shards)}


class _FeedIndex:
    """Finds named feeds by what they ask for: few of many feeds are about the posts of a group."""

    def __init__(self, named: Mapping[str, FeedSpec]) -> None:
        self.is_complete = False
        self._order = {name: i for i, name in enumerate(named)}
        self._by_community: dict[str, list[str]] = {}
        self._by_lang: dict[str | None, list[str]] = {}
        self._others: list[str] = []
        self._coming = iter(named.items())

    def add_some(self) -> None:
        """Take up some of the feeds."""
        count = 0
        for name, spec in islice(self._coming, _INDEXED_FEEDS):
            count += 1
            communities, langs = _asked_for(name, spec)
            for community in set(communities):
                self._by_community.setdefault(community, []).append(name)
            if not communities:
                for lang in set(langs):
                    self._by_lang.setdefault(lang, []).append(name)
                if not langs:
                    self._others.append(name)
        self.is_complete = count < _INDEXED_FEEDS

    def candidates(self, group: PostGroup) -> list[str]:
        """Return all feeds that may take posts of a group, in the order of the settings."""
        found = {*self._others, *self._by_lang.get(group.lang, ())}
        for community in group.communities:
            found.update(self._by_community.get(community, ()))
        return sorted(found, key=self._order.__getitem__)


def _asked_for(name: str, spec: FeedSpec) -> tuple[Collection[str], Collection[str]]:
    """Return the communities and the languages of which a post must have one; none for any."""
    kind, colon, value = name.partition(":")
    if colon:
        return ((value,), ()) if kind == "community" else ((), (value,))
    return spec.match.communities, spec.match.langs


def _spec(settings: Settings, name: str) -> FeedSpec:
    spec = settings.feed_of(name)
    if spec is None:
        raise ValueError(f"no setting and no pattern has the feed {name}")
    return spec


def accepts(name: str, spec: FeedSpec, group: PostGroup) -> bool:
    """Whether a feed takes posts of a group, whoever the authors are."""
    if group.is_reply and not spec.include_replies:
        return False
    communities, langs = _asked_for(name, spec)
    return (not communities or not set(communities).isdisjoint(group.communities)) and (
        not langs or group.lang in langs
    )
