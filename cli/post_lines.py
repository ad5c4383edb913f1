"""Posts and engagements from files of JSON lines, for commands that need no Kafka."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from feedmill.cli.output import warn
from feedmill.events.decode import decode_engagement, decode_post
from feedmill.events.engagement import Engagement
from feedmill.events.errors import BadEvent, FeedmillError, UsageError
from feedmill.events.post import Deletion, Post
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.simulation.replay.lines import MAX_LINE_BYTES, lines_of_file, unzipped

Event = TypeVar("Event")


# So many are told one by one: the errors of a file of another kind are all alike.
_TOLD_LINES = 20


class BadLines:
    """The bad lines of a file of posts, told on standard error; `good` counts the others."""

    def __init__(self) -> None:
        self.bad = self.good = 0

    def tell(self, text: str) -> None:
        """Say what is wrong with a line, as far as not enough was said."""
        self.bad += 1
        if self.bad <= _TOLD_LINES:
            warn(text)
        elif self.bad == _TOLD_LINES + 1:
            warn("…")

    def check(self, more: int = 0) -> None:
        """Fail if there was a bad line, or `more` of another file."""
        bad = self.bad + more
        if not bad:
            return
        text = f"{bad} lines have errors" if bad > 1 else "a line has an error"
        if self.bad and not self.good:
            text += (
                '; none is a post: each line must be one as JSON, {"post_id", "author_id",'
                ' "created_at_ms", "text"}; tables are read by `feedmill train` and `evaluate`'
            )
        raise FeedmillError(text)


class _Key(msgspec.Struct):
    post_id: str = ""


_decode_key = msgspec.json.Decoder(_Key).decode


def read_posts(path: str) -> Iterator[tuple[int, Post | BadEvent]]:
    """Read the posts of a file, plain or gzip, or of standard input where it is ``-``.

    Yields each line's number and its post, or why it is none; blank lines are skipped.  Raises
    `UsageError` where the file cannot be read.
    """
    return _read(path, _post)


def read_engagements(path: str) -> Iterator[tuple[int, Engagement | BadEvent]]:
    """Read engagements in the same way."""
    return _read(path, decode_engagement)


def _read(
    path: str, decode: Callable[[bytes, bytes], Event]
) -> Iterator[tuple[int, Event | BadEvent]]:
    for number, line in enumerate(lines_of_file(_open(path)), 1):
        if not line.strip():
            continue
        try:
            yield number, _decode(line, decode)
        except BadEvent as error:
            yield number, error


def _decode(line: bytes, decode: Callable[[bytes, bytes], Event]) -> Event:
    if len(line) > MAX_LINE_BYTES:
        raise BadEvent(f"Expected at most {MAX_LINE_BYTES} bytes, got a longer line")
    try:
        key = _decode_key(line).post_id.encode()
    except DECODE_ERRORS:
        # The decoder of the event says what is wrong with it.
        key = b""
    return decode(key, line)


def _post(key: bytes, value: bytes) -> Post:
    post = decode_post(key, value)
    if isinstance(post, Deletion):
        raise BadEvent("Expected a post, got its deletion")
    return post


def _open(path: str) -> IO[bytes]:
    if path == "-":
        return unzipped(io.BufferedReader(io.FileIO(0, closefd=False)))
    try:
        return unzipped(Path(path).open("rb"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
