"""Holds the combiner's view by log in a process of its own, and answers the pages' questions.

    Question ─► the newest of each page ─► Answer;  between questions it follows the logs

It starts when a page needs it, and ends some time after the last question, or with the console.
"""

from __future__ import annotations

import contextlib
import sys
import time
from multiprocessing.connection import Connection as Pipe
from typing import Any

import msgspec

from feedmill.console.view_answers import answer_ask
from feedmill.console.view_messages import Answer, PreviewAsk, Question, Reading
from feedmill.events.errors import BadSetting, FeedmillError
from feedmill.operations.preview.view_by_log import forget_changes
from feedmill.rankers.combiner.feed_matcher import FeedMatcher
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.environment import read_environment
from feedmill.streams.kafka.client import COMMAND_FETCH_WAIT_MS
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.topic_reader import count_partitions
from feedmill.streams.ranking.combiner_logs import OVERRIDES, POSTS, SIGNALS, CombinerLogs
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.config_log import SettingsLog
from feedmill.streams.worker.heap import keep_heap_small, trim_heap

# Workers on the same host come first.
# How long after the last question the process ends.
IDLE_S = 600.0
# While somebody drags a slider the view stands still, so that both lists are of the same posts.
_DRAG_S, _MOST_DRAG_S = 1.5, 30.0
_RECORDS = 4_000
# How long the process follows the logs before it looks for questions again.
_SLICE_S, _WAIT_S, _READING_WAIT_S = 0.03, 0.02, 0.002
_EXPIRE_EVERY_S = 30.0


class FollowedView:
    """The view, the settings, and how far both are read."""

    def __init__(self, connection: Connection) -> None:
        environment = connection.environment
        self.view = PostView(environment.signals)
        topics = [POSTS, *(SIGNALS + name for name in environment.signals.all)]
        self.partitions = count_partitions(environment, [*topics, OVERRIDES])[POSTS]
        self.settings_log = SettingsLog(connection)
        self._logs = CombinerLogs(connection, self.view, (), self.partitions)
        self._health = connection.health
        self._paused_at = self._paused_until = 0.0
        self._expire_at = time.monotonic() + _EXPIRE_EVERY_S
        self._is_trimmed = False

    @property
    def reading(self) -> Reading | None:
        """How far the logs are restored; None once they are."""
        if self.settings_log.ready_reason() and not self._logs.was_restored:
            return Reading("settings", 0, 0)
        return None if self._logs.was_restored else Reading(*self._logs.progress())

    @property
    def late(self) -> str:
        """Why the view stands still; "" while it follows."""
        return self._health.reason() or self._logs.ready_reason()

    def pause(self) -> None:
        """Stand still for a moment, at most half a minute from the first call on."""
        now_s = time.monotonic()
        if now_s > self._paused_until:
            self._paused_at = now_s
        self._paused_until = min(now_s + _DRAG_S, self._paused_at + _MOST_DRAG_S)

    def follow(self) -> int:
        """Read on for a moment; return how many records came."""
        now_s = time.monotonic()
        if now_s < self._paused_until and self._logs.was_restored:
            return 0
        self.settings_log.follow()
        count, _ = self._logs.read(_RECORDS, lambda: time.monotonic() < now_s + _SLICE_S)
        forget_changes(self.view)
        if self._logs.was_restored and now_s >= self._expire_at:
            self._expire_at = now_s + _EXPIRE_EVERY_S
            self._expire()
        if self._logs.was_restored and not self._is_trimmed:
            self._is_trimmed = True
            trim_heap()
        return count

    def _expire(self) -> None:
        """Let go of posts that left the longest window of all feeds."""
        cutoff_ms = now_ms() - FeedMatcher(self.settings_log.settings).longest_window_ms
        rows = self.view.expired(cutoff_ms)
        while len(rows) or self.view.has_expired:
            self.view.free(rows)
            rows = self.view.expired(cutoff_ms)
        forget_changes(self.view)

    def close(self) -> None:
        self._logs.close()
        self.settings_log.close()


def main() -> None:
    """Answer questions from the file descriptor in the arguments, until its other end closes."""
    keep_heap_small()
    pipe = Pipe(int(sys.argv[1]))
    environment = read_environment()
    connection = Connection(environment, COMMAND_FETCH_WAIT_MS)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        followed = FollowedView(connection)
        try:
            serve(pipe, followed)
        finally:
            followed.close()
            connection.close()


def serve(pipe: Pipe, followed: FollowedView, idle_s: float = IDLE_S) -> None:
    """Answer questions, and follow between them; returns when nobody asked for so long.

    Raises `EOFError` where the other end of the pipe is closed.
    """
    waiting: dict[str, Question] = {}
    asked_s, came = time.monotonic(), 0
    while waiting or time.monotonic() < asked_s + idle_s:
        # Without records and questions it sleeps in `poll`.
        pause_s = _WAIT_S if followed.reading is None else _READING_WAIT_S
        while pipe.poll(0 if waiting or came else pause_s):
            question = msgspec.msgpack.decode(pipe.recv_bytes(), type=Question)
            waiting[question.page] = question
            asked_s = time.monotonic()
        if waiting:
            question = waiting.pop(next(iter(waiting)))
            if isinstance(question.ask, PreviewAsk) and question.ask.dragging:
                followed.pause()
            pipe.send_bytes(msgspec.msgpack.encode(_answer(question, followed)))
        came = followed.follow()


def _answer(question: Question, followed: FollowedView) -> Answer:
    if (reading := followed.reading) is not None:
        return Answer(question.number, reading=reading, late=followed.late)
    try:
        result: Any = answer_ask(
            question.ask,
            followed.view,
            followed.settings_log.settings,
            followed.partitions,
            now_ms(),
        )
    except (BadSetting, FeedmillError) as error:
        return Answer(question.number, refusal=str(error), late=followed.late)
    encoded = msgspec.Raw(msgspec.msgpack.encode(result))
    return Answer(question.number, encoded, late=followed.late)


if __name__ == "__main__":
    main()
