"""Writes batches of changes to Redis, each change by itself: what fails takes nothing with it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import redis
from redis.exceptions import NoScriptError

from feedmill.events.partition import ALL_SHARDS, SHARDS, shard_of
from feedmill.rankers.combiner import FeedChange
from feedmill.streams.redis.pipelines import Pipeline
from feedmill.streams.redis.round_trip import (
    AWAY,
    NO_RIGHT,
    RoundTrip,
    error_code,
    error_text,
    is_of_the_server,
    is_out_of_memory,
)
from feedmill.streams.redis.scripts import (
    FORGET_FEEDS,
    Argument,
    Command,
    Keys,
    load_commands,
)
from feedmill.streams.redis.write_batch import WriteBatch, WriteReport
from feedmill.streams.redis.writes import Announcements, FeedWrites, PostWrites
from feedmill.streams.security import way_out

CHECK_EVERY_S: Final = 0.4
# How long a refusal is told at least.
REFUSED_S: Final = 6.0
# How long a marker outlives the process that kept it.
MARKER_KEPT_S: Final = 3600
# A token is a time in ms, or little more; Redis' scores are exact up to 53 bits.
TOKEN_BITS: Final = 47


class FlushMarker:
    """A key of one run of a writer, whose value counts the writer's round trips.

    A missing key means a flush.  A value below the last that was acknowledged means that another
    server went on without the last writes.  Each round trip has one such check of each server with
    keys.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self._sent = 0
        self._acknowledged = -1  # not there yet

    def command(self) -> Command:
        """Return the check; only the first one makes the key, or a flush would go unseen."""
        self._sent += 1
        expiry = ("EX", MARKER_KEPT_S)
        if self._acknowledged < 0:
            return ["SET", self.key, self._sent, *expiry]
        return ["SET", self.key, self._sent, "XX", "GET", *expiry]

    def shows_flush(self, answer: Any) -> bool:
        """Return whether the answer to the last `command` says that writes may be gone."""
        if isinstance(answer, redis.RedisError):
            return False
        before, self._acknowledged = self._acknowledged, self._sent
        if before < 0:
            return False
        if answer is None:
            self._acknowledged = -1
            return True
        return int(answer) < before


class FlushMarkers:
    """The markers of one run of a writer, one on each server that has keys."""

    def __init__(self, keys: Keys, pipeline: Pipeline) -> None:
        self._keys, self._pipeline = keys, pipeline
        self._run = secrets.token_hex(6)
        self._drawn = 0
        self._markers: list[FlushMarker] = []

    def all(self) -> Sequence[FlushMarker]:
        """Return the markers; a server that has keys by now, and had none, has a new one."""
        missing = self._pipeline.places()
        missing.difference_update(self._pipeline.place_of(marker.key) for marker in self._markers)
        while missing:
            run = f"{self._run}-{self._drawn}" if self._drawn else self._run
            self._drawn += 1
            key = self._keys.flush_marker(run)
            if (place := self._pipeline.place_of(key)) in missing:
                missing.discard(place)
                self._markers.append(FlushMarker(key))
        return self._markers


class FeedIndex:
    """What one writer has put on the index, by feed the token that the feed has there.

    A feed is put on the index before it is written, and taken off after it was removed, so that the
    index has every feed at any moment; one script cannot do both, because the index has another
    slot than the feeds.  The index is in the order of shards, so that a writer counts and lists its
    own.

    Attributes
    ----------
    own
        By feed the token of the feeds that this writer has put there.
    is_short
        Whether Redis has fewer than these: somebody removed the index, or a part of it.
    is_long
        Whether Redis has more than these: a former owner that was paused put a feed there.
    """

    def __init__(self, keys: Keys, shards: AbstractSet[int] = ALL_SHARDS) -> None:
        self.own: dict[str, int] = {}
        self.shards = shards
        self.is_short = self.is_long = False
        self._key = keys.feed_index

    def missing(self, tokens: Mapping[str, int]) -> dict[str, int]:
        """Return which of these feeds must be put on the index before they are written."""
        return {feed: token for feed, token in tokens.items() if self.own.get(feed) != token}

    def add_command(self, tokens: Mapping[str, int]) -> Command:
        """Put feeds on the index; a token there is never lowered."""
        return ["ZADD", self._key, "GT", *_pairs(tokens)]

    def added(self, tokens: Mapping[str, int]) -> None:
        """Count these feeds as put on the index."""
        self.own.update(tokens)
        self.is_short = False

    def remove_command(self, tokens: Mapping[str, int]) -> Command:
        """Take feeds that were removed off it, unless a newer owner has put them there again."""
        return FORGET_FEEDS.call([self._key], _pairs(tokens))

    def removed(self, feeds: Iterable[str]) -> None:
        """Count these feeds as taken off the index."""
        for feed in feeds:
            self.own.pop(feed, None)

    def give_up(self, shards: AbstractSet[int]) -> None:
        """Leave the feeds of these shards to others, who may have removed some."""
        self.own = {feed: at for feed, at in self.own.items() if shard_of(feed) not in shards}
        self.is_short = self.is_long = False

    def forget_all(self) -> None:
        """Redis was flushed, and each feed will be written again."""
        self.own.clear()

    def list_commands(self) -> list[Command]:
        """Return the commands that list this writer's feeds on the index, in parts."""
        return [["ZRANGEBYSCORE", self._key, *part] for part in self._parts()]

    def size_commands(self) -> list[Command]:
        """Return the commands that count this writer's feeds, in parts, for `counted`."""
        return [["ZCOUNT", self._key, *part] for part in self._parts()]

    def counted(self, answers: Sequence[Any]) -> None:
        """Compare what Redis counted with what this writer has put there."""
        own, is_known = len(self.own), all(isinstance(answer, int) for answer in answers)
        count = sum(answers) if is_known else own
        self.is_short, self.is_long = count < own, count > own > 0

    def _parts(self) -> Iterator[tuple[int, Argument]]:
        """Yield the scores of this writer's shards: from where, and up to below where."""
        for shard in sorted(self.shards):
            if shard - 1 not in self.shards:
                last = next(at for at in range(shard, SHARDS) if at + 1 not in self.shards)
                yield _place(shard, 0), f"({_place(last + 1, 0)}"


def _place(shard: int, token: int) -> int:
    """Return where a feed of a shard stands on the index, a number that Redis keeps exactly."""
    return shard << TOKEN_BITS | token


def _pairs(tokens: Mapping[str, int]) -> list[Argument]:
    arguments: list[Argument] = []
    for feed, token in tokens.items():
        arguments += (_place(shard_of(feed), token), feed)
    return arguments


class BatchWriter:
    """Writes changes and reports; `clock_s` gives seconds that only grow.

    One thread uses it.  Calls block for a few round trips at most, and report instead of raising.

    Attributes
    ----------
    trouble
        Why Redis takes no write at all; "" while it does.
    shortage
        Why Redis takes only what needs no memory, such as removals; "" while there is memory.
    refusal
        What this user may not do; "" once Redis takes each of these commands again.
    """

    def __init__(
        self, pipeline: Pipeline, prefix: str, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.trouble = "Redis: not connected yet"
        self._has_answered = False
        self.shortage = self.refusal = ""
        self._refused: dict[str, tuple[float, str]] = {}
        self._clock_s = clock_s
        keys = Keys(prefix)
        self._pipeline = pipeline
        self._markers = FlushMarkers(keys, pipeline)
        self._checked_s = -CHECK_EVERY_S
        self._is_index_unread = False
        self._announcements = Announcements(keys)
        self._posts = PostWrites(keys)
        self._feeds = FeedWrites(keys, self._announcements)
        self._index = FeedIndex(keys)

    def write(self, batch: WriteBatch, report: WriteReport) -> int:
        """Write a batch; returns how many of its changes Redis does not show."""
        trip = RoundTrip(report, self._clock_s())
        feeds = self._put_on_index(trip, batch)
        if batch.feeds_first:
            self._feeds.add(trip, feeds, batch)
            self._posts.add(trip, batch)
        else:
            # Posts before feeds: a reader of a feed finds its posts, even if on another server.
            self._posts.add(trip, batch)
            trip.begin_wave()
            self._feeds.add(trip, feeds, batch)
        self._feeds.add_removals(trip, batch)
        self._add_announcements(trip)
        self._make(trip)
        self._take_off_index(report)
        return trip.unwritten

    def tend(self, report: WriteReport) -> None:
        """Do what is due: look for a flush, report retries, repeat removals, announce changes."""
        trip = RoundTrip(report, self._clock_s())
        self._feeds.retry(trip)
        self._posts.retry(trip)
        is_check_due = trip.now_s >= self._checked_s + CHECK_EVERY_S
        if is_check_due:
            self._checked_s = trip.now_s
            trip.add_many(self._index.size_commands(), self._index.counted)
        self._add_announcements(trip)
        if trip.commands:
            self._make(trip)
        is_read_due = self._index.is_long or self._is_index_unread
        if is_check_due and is_read_due and not self.trouble:
            self._read_index(report)
        self._take_off_index(report)
        self._restore_index(report)

    def probe(self, report: WriteReport) -> bool:
        """Return whether Redis takes writes again; if not, count an error and set `trouble`."""
        self._exchange([], report)
        if self.trouble:
            report.errors[AWAY] += 1
        return not self.trouble

    def own(self, shards: AbstractSet[int], given_up: AbstractSet[int]) -> None:
        """Look after the feeds of these shards, and leave to others what was given up.

        The next `tend` reports which of their feeds exist.
        """
        self._index.shards = shards
        self._index.give_up(given_up)
        self._is_index_unread, self._checked_s = bool(shards), -CHECK_EVERY_S

    def next_s(self) -> float:
        """Return when to call `tend` again, in seconds of the clock."""
        return min(
            self._announcements.next_s(),
            self._checked_s + CHECK_EVERY_S,
            self._posts.retries.next_s(),
            self._feeds.retries.next_s(),
        )

    def close(self) -> None:
        """Disconnect."""
        self._pipeline.close()

    def _add_announcements(self, trip: RoundTrip) -> None:
        for command in self._announcements.take_due(trip.now_s):
            trip.add(command, trip.count_error)

    def _make(self, trip: RoundTrip) -> None:
        trip.answered(self._exchange(trip.commands, trip.report, trip.waves))

    def _exchange(
        self, commands: Sequence[Command], report: WriteReport, waves: Sequence[int] = ()
    ) -> list[Any]:
        """Return the answers to these commands; see to trouble, lost scripts and flushes.

        `waves` are where commands begin that are executed after all before them.
        """
        markers = self._markers.all()
        checks = [marker.command() for marker in markers]
        n = len(checks)
        found = self._pipeline.execute([*checks, *commands], [n + at for at in waves])
        marked, answers = found[:n], found[n:]
        self._repeat_with_scripts(commands, answers, waves)
        errors = [answer for answer in (*marked, *answers) if isinstance(answer, redis.RedisError)]
        error = next(filter(is_of_the_server, errors), None)
        self.trouble = "" if error is None else f"Redis: {error_text(error)}"
        self._has_answered = self._has_answered or len(errors) < len(found)
        # A connection that broke is no sign of another protocol once a server has answered.
        breaks = self._has_answered and "Error while reading" in self.trouble
        if not breaks and (out := way_out(self.trouble, "REDIS")):
            self.trouble += f"; {out}"
        full = next(filter(is_out_of_memory, marked), None)
        self.shortage = "" if full is None else f"Redis: {error_text(full)}"
        if errors or self._refused:
            self._note_refusals([*checks, *commands], [*marked, *answers])
        flushed = [m.shows_flush(answer) for m, answer in zip(markers, marked, strict=True)]
        if any(flushed):
            report.flushed = True
            self._posts.forget_all()
            self._feeds.forget_all()
            self._index.forget_all()
        return answers

    def _note_refusals(self, commands: Sequence[Command], answers: Sequence[Any]) -> None:
        """See which commands this user may not call, and which it may again."""
        now_s = self._clock_s()
        for command, answer in zip(commands, answers, strict=True):
            kind = str(command[1] if command[0] == "EVALSHA" else command[0])
            if isinstance(answer, redis.RedisError) and error_code(answer) == NO_RIGHT:
                name, place = str(command[0]), command[3 if command[0] == "EVALSHA" else 1]
                self._refused[kind] = now_s, f"{error_text(answer)} ({name} of `{place!s}`)"
            # A script takes several ways, not all of which need the right.
            elif kind in self._refused and now_s - self._refused[kind][0] > REFUSED_S:
                del self._refused[kind]
        self.refusal = next((text for _, text in self._refused.values()), "")

    def _repeat_with_scripts(
        self, commands: Sequence[Command], answers: list[Any], waves: Sequence[int]
    ) -> None:
        """Send commands whose script Redis does not know again, with the scripts."""
        missed = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if missed:
            loading = load_commands()
            begins = [len(loading) + sum(i < at for i in missed) for at in waves]
            again = self._pipeline.execute([*loading, *(commands[i] for i in missed)], begins)
            for i, answer in zip(missed, again[len(loading) :], strict=True):
                answers[i] = answer

    def _put_on_index(self, trip: RoundTrip, batch: WriteBatch) -> Sequence[FeedChange]:
        """Put new feeds on the index; returns the changes of feeds that may be written."""
        whole = _whole_feeds(batch)
        if not whole:
            return batch.feeds
        for feed in self._feeds.removed.keys() & whole.keys():
            del self._feeds.removed[feed]  # made again before it was taken off the index
            self._index.removed([feed])
        missing = self._index.missing(whole)
        if not missing:
            return batch.feeds
        (answer,) = self._exchange([self._index.add_command(missing)], trip.report)
        if not isinstance(answer, redis.RedisError):
            self._index.added(missing)
            return batch.feeds
        for feed in missing:
            self._feeds.failed(trip, feed, answer)
        return [change for change in batch.feeds if change.feed not in missing]

    def _read_index(self, report: WriteReport) -> None:
        """Report which feeds exist; where Redis does not answer, at the next call."""
        trip = RoundTrip(report, self._clock_s())

        def listed(answers: Sequence[Any]) -> None:
            for answer in answers:
                trip.count_error(answer)
            if not any(isinstance(answer, redis.RedisError) for answer in answers):
                names = [feed.decode() for answer in answers for feed in answer]
                report.existing_feeds = tuple(names)
                self._is_index_unread = False

        trip.add_many(self._index.list_commands(), listed)
        self._make(trip)

    def _take_off_index(self, report: WriteReport) -> None:
        """Take removed feeds off the index; after an error, at the next call."""
        removed = self._feeds.removed
        if removed:
            (answer,) = self._exchange([self._index.remove_command(removed)], report)
            if not isinstance(answer, redis.RedisError):
                self._index.removed(removed)
                removed.clear()

    def _restore_index(self, report: WriteReport) -> None:
        if self._index.is_short:
            own = self._index.own
            (answer,) = self._exchange([self._index.add_command(own)], report)
            if not isinstance(answer, redis.RedisError):
                self._index.added(own)


def _whole_feeds(batch: WriteBatch) -> dict[str, int]:
    return {change.feed: batch.token_of(change.feed) for change in batch.feeds if change.whole}
