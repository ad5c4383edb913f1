"""All feeds that exist: kept up to date, made anew in slices, made and retired on demand."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import chain

from feedmill.events.feeds import FeedSpec, pattern_of
from feedmill.events.partition import ALL_SHARDS
from feedmill.events.settings import Settings
from feedmill.rankers.combiner.columns import Rows
from feedmill.rankers.combiner.feed_matcher import FeedMatcher
from feedmill.rankers.combiner.feed_ranking import FeedRanking
from feedmill.rankers.combiner.feed_scores import FeedScores, PolicyCache
from feedmill.rankers.combiner.feed_set import FeedBuild, FeedSet, arm_scores, own_policies
from feedmill.rankers.combiner.gate_decisions import GateDecisions
from feedmill.rankers.combiner.pending_writes import PendingWrites

# Says whether the caller has time for more; asked after every millisecond or so of work.
HasTime = Callable[[], bool]

_TICKED_FEEDS = 256
# To free ten thousand feeds takes 15 ms.
_FREED_FEEDS = 512
# A feed with weights of its own takes some 10 µs, any other less than 1 µs.
_PLANNED_FEEDS = 256


class LiveFeeds:
    """The feeds in force, and the work that brings them to the newest settings.

    When settings change, `work` makes the feeds concerned anew beside the old ones, in slices, and
    then replaces all of them at once.  Until then the old feeds go on under the old settings.

    Attributes
    ----------
    current
        The feeds in force, and the settings that all of them follow.
    default
        The decisions under the general gates.
    is_switching
        Whether some feeds still follow the settings before those of `current`.
    """

    def __init__(
        self,
        policies: PolicyCache,
        pending: PendingWrites,
        settings: Settings,
        shards: AbstractSet[int] = ALL_SHARDS,
    ) -> None:
        self._policies = policies
        self._pending = pending
        self._target, self._shards = settings, shards
        self._short: set[str] = set()
        self._is_all_due = self._are_places_due = self.is_switching = False
        self._giving: Iterator[None] = iter(())
        self._dropping: Iterator[None] = iter(())
        self._got_place: set[str] = set()
        self._making: Iterator[None] | None = None
        self._build: FeedBuild | None = None
        self._now_ms = 0
        self._lost: list[FeedRanking] = []
        matcher = FeedMatcher(settings, shards)
        self.current = FeedSet(policies, settings, matcher)
        self._policies.scores(settings, "")
        self.default = self._default_decisions()
        for name in self.current.matcher.named:
            self.current.put(self.current.new(name))
            self._pending.mark_feed(name)

    @property
    def is_complete(self) -> bool:
        """Whether there are lists of all shards that were asked for."""
        return self.current.matcher.shards == self._shards

    @property
    def is_costly(self) -> bool:
        """Whether a changed post is ranked in old and new feeds, or its author is counted."""
        return self._build is not None or bool(self.current.places.counts)

    def own(self, shards: AbstractSet[int]) -> None:
        """Forget the feeds of all other shards, and have `work` make those that are not there."""
        self._shards, live = shards, self.current
        if self._build is not None:
            # The feeds that it made are of other shards.
            made = self._build.next.feeds
            self._lost += made.values()
            made.clear()
            self._build, self._is_all_due = None, True
        self._making, self._giving = None, iter(())
        self._got_place.clear()
        if lost := live.matcher.shards - shards:
            self._lost += live.lose(lost)
            self._short &= self.current.feeds.keys()
            for authors in live.places.counts.values():
                authors.has_moved = True  # has places given to feeds of these shards alone
        self._dropping = chain(self._dropping, self._free_lost())

    def apply(self, settings: Settings) -> None:
        """Have `work` make the feeds follow these settings."""
        self._target = settings

    def make_all(self) -> None:
        """Have `work` make every feed anew: `update` was not called for posts that came."""
        self._is_all_due = True

    def update(self, rows: Rows, before: Rows, groups: Rows, now_ms: int) -> None:
        """Rank rows that changed; see `FeedSet.update`."""
        for feed in self.current.update(rows, before, groups, now_ms):
            self._changed(feed)
        if self._build is not None and self._build.is_begun:
            for _ in self._build.next.update(rows, before, groups, now_ms):
                pass

    def tick(self, now_ms: int) -> None:
        """Have `work` take out posts that left the window of their feed, and give places anew."""
        self._dropping = chain(self._drop_old(now_ms), self._free_lost())
        self.current.drop_old(now_ms)
        self._are_places_due = True

    def forget(self, groups: Iterable[int]) -> None:
        """Drop what is known of groups whose numbers will stand for others; not in `work`."""
        groups = tuple(groups)
        self.current.matcher.forget(groups)
        self.current.places.forget(groups)

    def work(self, now_ms: int, has_time: HasTime) -> bool:
        """Bring the feeds to the newest settings; return whether there is more to do."""
        while next(self._dropping, self) is not self:
            if not has_time():
                return True
        if self._are_places_due and self._build is None:
            self._are_places_due, self._giving = False, self._give_places()
        while next(self._giving, self) is not self:
            if not has_time():
                return True
        self._now_ms = now_ms
        self._making = self._making or self._make()
        while next(self._making, self) is not self:
            if not has_time():
                return True
        self._making = None
        return False

    def _drop_old(self, now_ms: int) -> Iterator[None]:
        feeds = tuple(self.current.feeds.values())
        for start in range(0, len(feeds), _TICKED_FEEDS):
            for feed in feeds[start : start + _TICKED_FEEDS]:
                # A new ranking may have replaced it, and has no old posts.
                if self.current.feeds.get(feed.name) is feed and feed.drop_old(now_ms):
                    self._changed(feed)
            yield

    def _free_lost(self) -> Iterator[None]:
        while self._lost:
            del self._lost[-_FREED_FEEDS:]
            yield

    # --- one feed -------------------------------------------------------------------------

    def _changed(self, feed: FeedRanking) -> None:
        if feed.is_short:
            self._short.add(feed.name)
        elif not len(feed.list) and self.current.matcher.is_on_demand(feed.name):
            self._remove(feed.name)
            return
        self._pending.mark_feed(feed.name)

    def _remove(self, name: str) -> None:
        if self.current.remove(name):
            self._pending.remove_feed(name)
        self._short.discard(name)

    # --- making feeds anew ----------------------------------------------------------------

    def _make(self) -> Iterator[None]:
        """Make what must be made anew until nothing is, in parts of a millisecond or two."""
        while (build := (yield from self._plan())) is not None:
            self._build = build
            while build.work(self._now_ms):
                yield
            yield from self._finish(build.next)
            self._build, self.is_switching = None, False
            yield from self._free_unused()

    def _plan(self) -> Generator[None, None, FeedBuild | None]:
        """Return what makes the outdated feeds anew; None after a change that outdates no feed."""
        settings, live, is_all = self._target, self.current, self._is_all_due
        is_followed = settings is self.current.settings and self.is_complete
        is_due = is_all or bool(live.places.uncounted or self._got_place or self._short)
        if is_followed and not is_due:
            return None
        matcher = live.matcher
        if settings.feeds != live.settings.feeds or not self.is_complete:
            matcher = FeedMatcher(settings, self._shards)
        outdated = set[str]()
        # Feeds that posts make meanwhile follow the old settings: they are made anew, too.
        there = tuple(self.current.feeds)
        if is_all or not is_followed:
            for start in range(0, len(there), _PLANNED_FEEDS):
                some = [n for n in there[start : start + _PLANNED_FEEDS] if matcher.may_have(n)]
                outdated.update(some if is_all else self._outdated(some, settings, matcher))
                yield
        own = own_policies(settings, matcher)
        for count, name in enumerate(own, 1):
            # Feeds on demand that may yet be made have scores, too.
            self._policies.scores(settings, name)
            if count % _PLANNED_FEEDS == 0:
                yield
        self._is_all_due = self._is_all_due and not is_all
        got_place, self._got_place = self._got_place, set[str]()
        names = outdated | (self._short & self.current.feeds.keys()) | got_place
        names |= matcher.named.keys() - self.current.feeds.keys()
        discovers = bool(self._shards) and (
            is_all
            or bool(live.places.uncounted)
            or matcher is not live.matcher
            or _on_demand_policies(settings) != _on_demand_policies(live.settings)
        )
        if not (names or discovers or self._policies.has_unfinished):
            self._change_settings(settings, matcher)
            yield from self._free_unused()
            return None
        unchanged = frozenset(there) - names
        concerns = (lambda name: name not in unchanged) if discovers else names.__contains__
        feeds = FeedSet(self._policies, settings, matcher, concerns)
        # Where posts may make feeds on demand, the set has places of its own to give.
        feeds.is_closed = not discovers
        self._short -= names
        return FeedBuild(feeds, names)

    def _outdated(
        self, names: Iterable[str], settings: Settings, matcher: FeedMatcher
    ) -> Iterator[str]:
        general = self._policies.scores(settings, "")
        # Nearly no change of settings is about specs; after one, most specs are the same objects.
        says_feeds, running = matcher is not self.current.matcher, settings.running
        spec_of = matcher.named.get
        for name in names:
            feed = self.current.feeds.get(name)
            if feed is None:
                continue  # the feed was removed meanwhile
            has_own = name in settings.weights or name in settings.gates
            scores = self._policies.scores(settings, name) if has_own else general
            is_under = (name in running or feed.experiment) and self._has_other_arms(feed, settings)
            is_other = says_feeds and feed.spec is not spec_of(name)
            is_other = is_other and self._differs(feed, matcher)
            if scores is not feed.scores or is_under or is_other:
                yield name

    def _has_other_arms(self, feed: FeedRanking, settings: Settings) -> bool:
        """Whether an experiment begins or ends in a feed, or says something else of it."""
        running = settings.running.get(feed.name)
        if running is None or feed.experiment != running.info():
            return True
        arms = arm_scores(self._policies, running).values()
        return feed.all_scores != (self._policies.scores(settings, feed.name), *arms)

    def _differs(self, feed: FeedRanking, matcher: FeedMatcher) -> bool:
        """Whether a feed takes other posts than before, or begins or ends to be on demand."""
        name = feed.name
        return _content(feed.spec) != _content(
            matcher.spec_of(name)
        ) or self.current.matcher.is_on_demand(name) != matcher.is_on_demand(name)

    def _give_places(self) -> Iterator[None]:
        """Drop feeds that lost their places, and have those made that got one."""
        places = self.current.places
        given = yield from places.give(self.current.matcher.shards)
        self._drop_displaced()
        places.end_counts(self.current.feeds)
        new = given - self.current.feeds.keys()
        self._got_place = set(filter(self.current.matcher.may_have, new))

    def _drop_displaced(self) -> None:
        for name in self.current.on_demand():
            if not self.current.places.keeps(name):
                self._remove(name)

    def _finish(self, made: FeedSet) -> Iterator[None]:
        if made.settings is not self.current.settings or made.matcher is not self.current.matcher:
            # Remove named feeds that exist no more, and that posts cannot make again.
            for name in self.current.matcher.named.keys() - made.matcher.named.keys():
                if not made.matcher.may_have(name):
                    self._remove(name)
                    yield
            self._retire_outdated(made)
            self._change_settings(made.settings, made.matcher)
            self.is_switching = True
        if not made.is_closed:
            made.is_closed = True
            made.places.add_refused_of(self.current.places)
            self.current.places = made.places
            self._drop_displaced()
        while made.feeds:
            name, feed = made.feeds.popitem()
            feed.drop_old(self._now_ms)
            has_posts = len(feed.list) > 0 or feed.is_short
            if not made.matcher.is_on_demand(name) or (has_posts and self._has_place(name)):
                self._put(feed)
            else:
                self._remove(name)
            yield

    def _free_unused(self) -> Iterator[None]:
        """Forget scores by which no feed is ranked: to free ten million takes 3 ms."""
        unused = self._policies.keep(self._scores_in_use(), self.default)
        while unused:
            unused.pop()
            yield

    def _has_place(self, name: str) -> bool:
        places = self.current.places
        is_there = name in self.current.feeds or places.are_short(name)
        return places.keeps(name) and (is_there or self.current.has_room(name))

    def _retire_outdated(self, made: FeedSet) -> None:
        """Remove feeds made meanwhile that show no post under the new settings."""
        for name in self.current.feeds.keys() - made.matcher.named.keys() - made.feeds.keys():
            if made.takes(name):
                self._remove(name)

    def _put(self, feed: FeedRanking) -> None:
        before = self.current.feeds.get(feed.name)
        if before is not None:
            feed.replace(before)
        self.current.put(feed)
        self._changed(feed)

    def _change_settings(self, settings: Settings, matcher: FeedMatcher) -> None:
        self.current.change_settings(settings, matcher)
        self.default = self._default_decisions()

    def _scores_in_use(self) -> list[FeedScores]:
        # Lists, not generators, which would take longer for thousands of feeds.
        live = self.current
        in_use = [feed.scores for feed in live.feeds.values()]
        in_use += [s for feed in live.feeds.values() if feed.experiment for s in feed.all_scores]
        own = own_policies(live.settings, live.matcher)
        return in_use + [self._policies.scores(live.settings, name) for name in own]

    def _default_decisions(self) -> GateDecisions:
        return self._policies.decisions(self.current.settings.gates_of(""))


def _content(spec: FeedSpec) -> tuple[object, ...]:
    """All of a spec that says which posts are in the feed."""
    return spec.match, spec.size, spec.window_hours, spec.include_replies


def _on_demand_policies(settings: Settings) -> list[object]:
    """All weights, gates and rates that count in feeds on demand."""
    named = (
        {name: value for name, value in kind.items() if not name or pattern_of(name) is not None}
        for kind in (settings.weights, settings.gates)
    )
    return [*named, settings.reaction_rates]
