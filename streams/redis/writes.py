"""Writes and removes feeds and posts by Lua scripts, announces feeds, and keeps what failed.

The hash `signals:<post_id>` of a post is written by one call of `write_signals.lua`, a feed with
the lists of its arms by one call of `write_feed.lua`.  Which feed changed is published on
`feed-changes`, at most ten times a second a feed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
import orjson
import redis

from feedmill.rankers.combiner import FeedChange, SignalsChange, arm_list
from feedmill.streams.redis.round_trip import (
    OUT_OF_MEMORY,
    RetrySchedule,
    RoundTrip,
    is_of_the_server,
)
from feedmill.streams.redis.scripts import (
    Argument,
    Command,
    Keys,
    feed_command,
    removal_command,
    signals_command,
)
from feedmill.streams.redis.write_batch import WriteBatch

ANNOUNCED_EVERY_S: Final = 0.1
# A round trip for each change costs as much as the change: changes of so long share a round trip.
GATHERED_S: Final = 0.05
FRESH_MS: Final = 15_000
# Beyond so many turns, those that have come are forgotten.
_MOST_TURNS: Final = 4096

_WRITTEN, _SHRUNK, _NOT_THERE = 1, 2, 0
_encode = msgspec.json.Encoder().encode


class PostWrites:
    """The posts' part of a round trip.

    A post that failed gets no partial change until it was written whole.  Removals are always
    tried, and repeated from here, because the loop has forgotten the post.
    """

    def __init__(self, keys: Keys) -> None:
        self.retries = RetrySchedule()
        self._keys = keys
        self._removals: dict[str, int] = {}  # the token of each removal that failed

    def add(self, trip: RoundTrip, batch: WriteBatch) -> None:
        """Add the signals of a batch to a round trip."""
        changes, tokens = [], []
        for change, token in zip(batch.signals, batch.tokens_of_signals(), strict=True):
            if change.post_id in self.retries and change.fields and not change.whole:
                trip.unwritten += 1
                continue
            if self._removals and change.fields:
                self._removals.pop(change.post_id, None)
            changes.append(change)
            tokens.append(token)
        each = zip(changes, tokens, strict=True)
        commands = [signals_command(self._keys, change, token) for change, token in each]
        trip.add_many(commands, partial(self._all_answered, trip, changes, tokens))

    def retry(self, trip: RoundTrip) -> None:
        """Repeat the removals that are due; report which posts are to be written again."""
        for post_id in self.retries.take_due(trip.now_s):
            token = self._removals.get(post_id)
            if token is None:
                trip.report.rewrite_posts.add(post_id)
            else:
                removal = SignalsChange(post_id, 0, whole=True)
                command = signals_command(self._keys, removal, token)
                trip.add(command, partial(self._answered, trip, removal, token))

    def forget_all(self) -> None:
        """Redis was flushed: there is nothing to remove, and all is written again."""
        self.retries.clear()
        self._removals.clear()

    def _all_answered(
        self,
        trip: RoundTrip,
        changes: Sequence[SignalsChange],
        tokens: Sequence[int],
        answers: Sequence[Any],
    ) -> None:
        if not self.retries and not self._removals and answers.count(_WRITTEN) == len(changes):
            trip.report.written_posts += len(changes)
            return
        for change, token, answer in zip(changes, tokens, answers, strict=True):
            self._answered(trip, change, token, answer)

    def _answered(self, trip: RoundTrip, change: SignalsChange, token: int, answer: Any) -> None:
        post_id, report = change.post_id, trip.report
        if isinstance(answer, redis.RedisError):
            if not change.fields:
                self._removals[post_id] = token
            trip.count_error(answer)
            trip.unwritten += 1
            self.retries.failed(post_id, trip.now_s, at_once=is_of_the_server(answer))
            return
        if not change.fields:
            self._removals.pop(post_id, None)
        self.retries.succeeded(post_id)
        if answer == _WRITTEN:
            report.written_posts += 1
            return
        trip.unwritten += 1
        if answer == _NOT_THERE:
            report.rewrite_posts.add(post_id)
        else:
            report.refuse_post(post_id, -answer)


class FeedVersion(NamedTuple):
    """A version of a feed, the last `config` record in it, and when it was made."""

    version: int
    config_offset: int
    at_ms: int


class Announcements:
    """The newest change of each feed that was not published yet; times are seconds of a clock."""

    def __init__(self, keys: Keys) -> None:
        self._channel = keys.feed_changes
        self._waiting: dict[str, tuple[FeedVersion, float]] = {}  # and since when
        self._turn_s: dict[str, float] = {}  # when a feed may be published again

    def add(self, feed: str, version: FeedVersion, now_s: float) -> None:
        """Publish this change when it is the feed's turn, unless a newer change comes before."""
        _, since_s = self._waiting.get(feed, (version, now_s))
        self._waiting[feed] = version, since_s

    def take_due(self, now_s: float) -> list[Command]:
        """Return the commands that publish what is due, for a round trip that is made anyhow."""
        if len(self._turn_s) > _MOST_TURNS:
            self._turn_s = {feed: at_s for feed, at_s in self._turn_s.items() if at_s > now_s}
        due = [feed for feed in self._waiting if self._turn_s.get(feed, 0.0) <= now_s]
        return [self._publish(feed, now_s) for feed in due]

    def next_s(self) -> float:
        """Return when `take_due` is worth a round trip of its own; infinity if nothing waits."""
        return min(map(self._alone_s, self._waiting), default=float("inf"))

    def _alone_s(self, feed: str) -> float:
        # By the feed's own time: some other feed waits for its turn nearly always.
        _, since_s = self._waiting[feed]
        return max(self._turn_s.get(feed, 0.0), since_s + GATHERED_S)

    def _publish(self, feed: str, now_s: float) -> Command:
        version, _ = self._waiting.pop(feed)
        self._turn_s[feed] = now_s + ANNOUNCED_EVERY_S
        return ["PUBLISH", self._channel, _encode({"feed": feed, **version._asdict()})]


class _Known(NamedTuple):
    """What Redis holds of a feed: its version, and the sizes of its list and those of its arms."""

    version: int
    sizes: Sequence[int]


class _Removal(NamedTuple):
    feed: str
    token: int
    now_ms: int
    ended: Sequence[str]


class FeedWrites:
    """The feeds' part of a round trip.

    It knows which version and sizes of each feed Redis holds.  Redis refuses a change that is not
    whole unless it holds those very sizes and version: another writer, a flush, or a write of
    unknown outcome came between.  Of a feed that failed only removals are written until it was
    written whole, so that what is hidden or deleted leaves at once all the same.

    Attributes
    ----------
    removed
        By feed the token of each feed that was removed and is not off the index yet.
    """

    def __init__(self, keys: Keys, announcements: Announcements) -> None:
        self.retries = RetrySchedule()
        self.removed: dict[str, int] = {}
        self._keys = keys
        self._known: dict[str, _Known] = {}
        self._last_version: dict[str, int] = {}  # also of what a flush took
        self._announcements = announcements
        self._removals: dict[str, _Removal] = {}  # those that failed

    def add(self, trip: RoundTrip, feeds: Sequence[FeedChange], batch: WriteBatch) -> None:
        """Add these feeds of a batch to a round trip."""
        for change in feeds:
            token, is_held = batch.token_of(change.feed), change.feed in self.retries
            self._removals.pop(change.feed, None)
            if change.whole or not is_held:
                command = self._write(change, token, batch)
            elif change.removes:
                command = self._remove_members(change, token, batch.now_ms)
            else:
                trip.unwritten += 1
                continue
            trip.add(command, partial(self._answered, trip, change, batch.now_ms))

    def add_removals(self, trip: RoundTrip, batch: WriteBatch) -> None:
        """Add the removals of feeds of a batch to a round trip."""
        for feed in batch.removed_feeds:
            ended = batch.ended.get(feed, ())
            removal = _Removal(feed, batch.token_of(feed), batch.now_ms, ended)
            self._add_removal(trip, removal)

    def retry(self, trip: RoundTrip) -> None:
        """Repeat the removals that are due; report which feeds are to be written again."""
        for feed in self.retries.take_due(trip.now_s):
            removal = self._removals.get(feed)
            if removal is None:
                trip.report.rewrite_feeds.add(feed)
            else:
                self._add_removal(trip, removal)

    def failed(self, trip: RoundTrip, feed: str, error: redis.RedisError) -> None:
        """Count a feed that could not be written, and try it again later."""
        trip.count_error(error)
        trip.unwritten += 1
        self._known.pop(feed, None)
        self.retries.failed(feed, trip.now_s, at_once=is_of_the_server(error))

    def forget_all(self) -> None:
        """Redis was flushed: there is nothing to remove, and all is written again."""
        self.retries.clear()
        self.removed.clear()
        self._removals.clear()
        self._known.clear()

    def _write(self, change: FeedChange, token: int, batch: WriteBatch) -> Command:
        mode = "whole" if change.whole else "change"
        arguments = self._arguments(mode, change, token, batch.now_ms)
        for part, held in zip(change.lists, self._held(change), strict=True):
            arguments += _members(part, held)
            arguments += _scores_and_members(part.entries)
            fields: list[Argument] = ["config_offset", part.config_offset]
            if part.whole:
                weights, gates = _encode(part.weights.shown()), _encode(part.gates)
                fields += ("weights", weights, "gates", gates)
            name = change.feed if part is change else arm_list(change.feed, part.feed)
            if name in batch.fresh_feeds:
                fields += ("fresh_until_ms", batch.now_ms + FRESH_MS)
            arguments += (len(fields), *fields)
        return feed_command(self._keys, change, arguments)

    def _remove_members(self, change: FeedChange, token: int, now_ms: int) -> Command:
        """Return the call that only removes members, whatever version Redis holds."""
        arguments = self._arguments("shrink", change, token, now_ms)
        for part, held in zip(change.lists, self._held(change), strict=True):
            arguments += _members(part, held)
            arguments[-1] = 0  # no entries
            arguments.append(0)
        return feed_command(self._keys, change, arguments)

    def _arguments(self, mode: str, change: FeedChange, token: int, now_ms: int) -> list[Argument]:
        known, last = self._known.get(change.feed), self._last_version.get(change.feed, 0)
        version = -1 if known is None else known.version
        ended = change.ended
        return [token, mode, version, now_ms, last, change.experiment, len(ended), *ended]

    def _held(self, change: FeedChange) -> Sequence[int]:
        """Return the sizes that Redis must hold for a change that is not whole."""
        known, count = self._known.get(change.feed), len(change.arms) + 1
        return known.sizes if known is not None and len(known.sizes) == count else [-1] * count

    def _answered(self, trip: RoundTrip, change: FeedChange, now_ms: int, answer: Any) -> None:
        feed, report = change.feed, trip.report
        if isinstance(answer, redis.RedisError):
            self.failed(trip, feed, answer)
            return
        status, version = answer
        if status in (_WRITTEN, _SHRUNK) and not change.is_renewal:
            announced = FeedVersion(version, change.config_offset, now_ms)
            self._announcements.add(feed, announced, trip.now_s)
        if status == _WRITTEN:
            self.retries.succeeded(feed)
            self._known[feed] = _Known(version, [part.size for part in change.lists])
            self._last_version[feed] = version
            report.written_feeds[feed] = version
            return
        trip.unwritten += 1
        self._known.pop(feed, None)
        if status == _SHRUNK:
            self._shrunk(trip, change)
            return
        self.retries.succeeded(feed)
        if status == _NOT_THERE:
            report.rewrite_feeds.add(feed)
        else:
            report.refuse_feed(feed, -status)

    def _shrunk(self, trip: RoundTrip, change: FeedChange) -> None:
        was_asked_for = change.feed in self.retries and not change.whole
        if not was_asked_for:
            trip.report.errors[OUT_OF_MEMORY] += 1
            self.retries.failed(change.feed, trip.now_s)

    def _add_removal(self, trip: RoundTrip, removal: _Removal) -> None:
        command = removal_command(self._keys, *removal)
        trip.add(command, partial(self._removal_answered, trip, removal))

    def _removal_answered(self, trip: RoundTrip, removal: _Removal, answer: Any) -> None:
        feed = removal.feed
        if isinstance(answer, redis.RedisError):
            self._removals[feed] = removal
            self.failed(trip, feed, answer)
            return
        self._removals.pop(feed, None)
        self.retries.succeeded(feed)
        self._known.pop(feed, None)
        self._last_version.pop(feed, None)
        status, version, config_offset = answer
        if status < 0:
            trip.unwritten += 1
            trip.report.refuse_feed(feed, -status)
            return
        self.removed[feed] = removal.token
        announced = FeedVersion(version, config_offset, removal.now_ms)
        self._announcements.add(feed, announced, trip.now_s)


def _members(change: FeedChange, held: int) -> list[Argument]:
    size = len(change.entries) if change.whole else change.size
    return [held, size, len(change.removed), *change.removed, len(change.entries)]


def _scores_and_members(entries: Sequence[tuple[str, float]]) -> list[Argument]:
    """Score, member, score, member, …; each score in the fewest digits that give it back."""
    if not entries:
        return []
    arguments: list[Argument] = [""] * (2 * len(entries))
    arguments[1::2], scores = zip(*entries, strict=True)
    arguments[::2] = orjson.dumps(scores)[1:-1].split(b",")
    return arguments
