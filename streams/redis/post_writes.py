"""Writes `signals:<post_id>`, and keeps what of it failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import redis

from feedmill.rankers.combiner import SignalsChange
from feedmill.streams.redis.commands import TOMBSTONE_MS, WRITE_SIGNALS, Argument, Command, Keys
from feedmill.streams.redis.round_trip import RetrySchedule, RoundTrip, is_of_the_server
from feedmill.streams.redis.write_batch import WriteBatch

_WRITTEN, _NOT_THERE = 1, 0
_encode = msgspec.msgpack.Encoder().encode
# A map of fewer fields has a head of one byte in MessagePack, a longer one of three.
_LONG_MAP_FROM: Final = 16


class PostWrites:
    """The posts' part of a round trip.

    A post that failed gets no partial change until it was written whole; removals are always
    tried, and repeated from here, since the loop has forgotten the post.
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
        """Repeat the removals that are due; report what else is to be written again."""
        for post_id in self.retries.take_due(trip.now_s):
            token = self._removals.get(post_id)
            if token is None:
                trip.report.rewrite_posts.add(post_id)
            else:
                removal = SignalsChange(post_id, 0, whole=True)
                command = signals_command(self._keys, removal, token)
                trip.add(command, partial(self._answered, trip, removal, token))

    def forget_all(self) -> None:
        """Redis was flushed: there is nothing to remove, and all is written again anyhow."""
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


def signals_command(keys: Keys, change: SignalsChange, token: int) -> Command:
    """The script call that writes, or removes, what is true of a post."""
    key_names = [keys.signals(change.post_id), keys.post_tombstone(change.post_id)]
    if not change.fields:
        return WRITE_SIGNALS.call(key_names, [token, "remove", TOMBSTONE_MS])
    mode = "whole" if change.whole else "change"
    fields = _as_message_pack(change.fields)
    arguments: list[Argument] = [token, mode, change.expires_at_ms, change.post_offset, fields]
    return WRITE_SIGNALS.call(key_names, arguments)


def _as_message_pack(fields: Mapping[str, str]) -> bytes:
    """Field, value, ... one after the other: one argument takes less time than many."""
    return _encode(fields)[1 if len(fields) < _LONG_MAP_FROM else 3 :]
