"""Writes and removes feeds, and keeps what of it failed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import redis

from feedmill.rankers.combiner import FeedChange
from feedmill.streams.redis.announcements import Announcements, FeedVersion
from feedmill.streams.redis.feed_commands import FeedCommands
from feedmill.streams.redis.keys import Keys
from feedmill.streams.redis.retries import RetrySchedule
from feedmill.streams.redis.round_trip import OUT_OF_MEMORY, RoundTrip, is_of_the_server
from feedmill.streams.redis.write_batch import WriteBatch

_WRITTEN, _SHRUNK, _NOT_THERE = 1, 2, 0


class _Removal(NamedTuple):
    feed: str
    token: int
    now_ms: int


class FeedWrites:
    """The feeds' part of a round trip.

    Of a change of a feed that failed, only removals are written until the feed was written
    whole: what is hidden or deleted leaves at once all the same.

    Attributes
    ----------
    removed
        By feed the token of each that was removed and is not off the index yet.
    """

    def __init__(self, keys: Keys, announcements: Announcements) -> None:
        self.retries = RetrySchedule()
        self.removed: dict[str, int] = {}
        self._commands = FeedCommands(keys)
        self._announcements = announcements
        self._removals: dict[str, _Removal] = {}  # those that failed

    def add(
        self, trip: RoundTrip, feeds: Sequence[FeedChange], batch: WriteBatch, now_s: float
    ) -> None:
        """Add these feeds of a batch to a round trip."""
        for change in feeds:
            token, is_held = batch.token_of(change.feed), change.feed in self.retries
            self._removals.pop(change.feed, None)
            if change.whole or not is_held:
                fresh = change.feed in batch.fresh_feeds
                command = self._commands.write(change, token, batch.now_ms, fresh=fresh)
            elif change.removed:
                command = self._commands.remove_members(change, token, batch.now_ms)
            else:
                trip.unwritten += 1
                continue
            trip.add(command, partial(self._answered, trip, change, batch.now_ms, now_s))

    def add_removals(self, trip: RoundTrip, batch: WriteBatch, now_s: float) -> None:
        """Add the removals of feeds of a batch to a round trip."""
        for feed in batch.removed_feeds:
            removal = _Removal(feed, batch.token_of(feed), batch.now_ms)
            self._add_removal(trip, removal, now_s)

    def retry(self, trip: RoundTrip, now_s: float) -> None:
        """Repeat the removals that are due; report what else is to be written again."""
        for feed in self.retries.take_due(now_s):
            removal = self._removals.get(feed)
            if removal is None:
                trip.report.rewrite_feeds.add(feed)
            else:
                self._add_removal(trip, removal, now_s)

    def failed(self, trip: RoundTrip, feed: str, error: redis.RedisError, now_s: float) -> None:
        """A feed could not be written."""
        trip.count_error(error)
        trip.unwritten += 1
        self._commands.forget(feed)
        self.retries.failed(feed, now_s, at_once=is_of_the_server(error))

    def forget_all(self) -> None:
        """Redis was flushed: there is nothing to remove, and all is written again anyhow."""
        self.retries.clear()
        self.removed.clear()
        self._removals.clear()
        self._commands.forget_all()

    def _answered(
        self, trip: RoundTrip, change: FeedChange, now_ms: int, now_s: float, answer: Any
    ) -> None:
        feed, report = change.feed, trip.report
        if isinstance(answer, redis.RedisError):
            self.failed(trip, feed, answer, now_s)
            return
        status, version = answer
        if status in (_WRITTEN, _SHRUNK) and not change.is_renewal:
            announced = FeedVersion(version, change.config_offset, now_ms)
            self._announcements.add(feed, announced, now_s)
        if status == _WRITTEN:
            self.retries.succeeded(feed)
            self._commands.written(change, version)
            report.written_feeds[feed] = version
            return
        trip.unwritten += 1
        self._commands.forget(feed)
        if status == _SHRUNK:
            self._shrunk(trip, change, now_s)
            return
        self.retries.succeeded(feed)
        if status == _NOT_THERE:
            report.rewrite_feeds.add(feed)
        else:
            report.refuse_feed(feed, -status)

    def _shrunk(self, trip: RoundTrip, change: FeedChange, now_s: float) -> None:
        was_asked_for = change.feed in self.retries and not change.whole
        if not was_asked_for:
            trip.report.errors[OUT_OF_MEMORY] += 1
            self.retries.failed(change.feed, now_s)

    def _add_removal(self, trip: RoundTrip, removal: _Removal, now_s: float) -> None:
        trip.add(
            self._commands.remove(removal.feed, removal.token, removal.now_ms),
            partial(self._removal_answered, trip, removal, now_s),
        )

    def _removal_answered(
        self, trip: RoundTrip, removal: _Removal, now_s: float, answer: Any
    ) -> None:
        feed = removal.feed
        if isinstance(answer, redis.RedisError):
            self._removals[feed] = removal
            self.failed(trip, feed, answer, now_s)
            return
        self._removals.pop(feed, None)
        self.retries.succeeded(feed)
        self._commands.removed(feed)
        status, version, config_offset = answer
        if status < 0:
            trip.unwritten += 1
            trip.report.refuse_feed(feed, -status)
            return
        self.removed[feed] = removal.token
        self._announcements.add(feed, FeedVersion(version, config_offset, removal.now_ms), now_s)
