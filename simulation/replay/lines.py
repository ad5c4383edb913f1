"""JSON lines as a source: each line is an event with its topic, or just a post or engagement.

Files, plain or gzip, are read directly, since a disk answers at once.  Standard input may be a pipe
that is silent for an hour, so a thread of its own reads it.
"""

from __future__ import annotations

import gzip
import io
import queue
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol, cast

import msgspec

from feedmill.events.decode import (
    decode_engagement,
    decode_label,
    decode_override,
    decode_post,
    decode_signal,
)
from feedmill.events.engagement import Engagement
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.post import Post
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.events.signal import SignalNames
from feedmill.simulation.replay.options import Counts, ReplayOptions
from feedmill.simulation.schedule import (
    ENGAGEMENTS,
    POSTS,
    EventSource,
    OutgoingRecord,
    ScheduledEvent,
)

MAX_LINE_BYTES = 8 * 1024 * 1024

_CHUNK_BYTES = 64 * 1024
_CHUNKS_AHEAD = 64
_Field = msgspec.Raw | msgspec.UnsetType


class _Peekable(Protocol):
    def peek(self, size: int = ..., /) -> bytes: ...


def open_file(path: Path) -> IO[bytes]:
    """Open a file of lines; raises `UsageError` if it cannot be read."""
    try:
        return unzipped(path.open("rb"))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}; the source must be a file of JSON lines, `-` "
            "for standard input, or a preset: reddit, bluesky, demo"
        ) from None


def unzipped(handle: _Peekable) -> IO[bytes]:
    """The uncompressed bytes of a stream that may be gzip."""
    if handle.peek(2)[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.GzipFile(fileobj=cast(IO[bytes], handle), mode="rb"))
    return cast(IO[bytes], handle)


def lines_of_file(handle: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; a line that is too long is cut to `MAX_LINE_BYTES` + 1 bytes.

    Raises `UsageError` if the file cannot be read on.
    """
    try:
        while line := handle.readline(MAX_LINE_BYTES + 1):
            rest = line
            while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
                rest = handle.readline(MAX_LINE_BYTES + 1)
            yield line
    except (OSError, EOFError, zlib.error) as error:
        name = getattr(handle, "name", "standard input")
        raise UsageError(
            f"cannot read {name} to its end: {error}; it is broken or incomplete, get it again"
        ) from None


def lines_of_stdin(descriptor: int = 0) -> Iterator[bytes | None]:
    """The lines of a file descriptor as they arrive; None if the next is not there yet.

    Raises `UsageError` if it cannot be read.
    """
    chunks: queue.Queue[bytes | UsageError] = queue.Queue(_CHUNKS_AHEAD)
    # A daemon, because nothing can wake a thread that waits for a silent pipe.
    threading.Thread(target=_read_ahead, args=(descriptor, chunks), daemon=True).start()
    unfinished = b""
    while True:
        try:
            chunk = chunks.get_nowait()
        except queue.Empty:
            yield None
            continue
        if isinstance(chunk, UsageError):
            raise chunk
        if not chunk:
            break
        *finished, unfinished = (unfinished + chunk).split(b"\n")
        yield from finished
        if len(unfinished) > MAX_LINE_BYTES:
            unfinished = unfinished[: MAX_LINE_BYTES + 1]
    if unfinished:
        yield unfinished


def spooled(lines: Iterator[bytes | None]) -> IO[bytes]:
    """Copy the lines into a temporary file, which can be read more than once; blocks until then."""
    handle = cast(IO[bytes], tempfile.TemporaryFile())  # noqa: SIM115 - lives as long as the run
    for line in lines:
        if line is None:
            time.sleep(0.01)
        else:
            handle.write(line + b"\n")
    handle.seek(0)
    return handle


def _read_ahead(descriptor: int, chunks: queue.Queue[bytes | UsageError]) -> None:
    # Not `sys.stdin`: the interpreter could not shut down while a thread reads it.
    raw = io.BufferedReader(io.FileIO(descriptor, closefd=False))
    try:
        handle = cast(gzip.GzipFile, unzipped(raw))
        while chunk := handle.read1(_CHUNK_BYTES):
            chunks.put(chunk)
        chunks.put(b"")
    except (OSError, EOFError, zlib.error) as error:
        chunks.put(UsageError(f"cannot read standard input: {error}; check what writes to it"))


class _Line(msgspec.Struct):
    """The fields that tell the kinds of lines apart; the decoders of the events read the rest."""

    topic: str | None = None
    key: str | None = None
    value: _Field = msgspec.UNSET
    post_id: str | None = None
    kind: _Field = msgspec.UNSET
    author_id: _Field = msgspec.UNSET
    text: _Field = msgspec.UNSET
    deleted: _Field = msgspec.UNSET


_decode_line = msgspec.json.Decoder(_Line).decode


def parse_line(line: bytes, names: SignalNames) -> ScheduledEvent:
    """Decode one line to an event that is due at once and keeps its own times.

    Raises `BadEvent`: the line breaks the contract; the text has the field, what is expected and
    what came.
    """
    try:
        fields = _decode_line(line)
    except DECODE_ERRORS as error:
        raise BadEvent(str(error)) from None
    topic, key, value = _topic_key_value(fields, line)
    event = _decode(topic, key, value, names)
    if not isinstance(event, Post | Engagement):
        event = OutgoingRecord(key, value)
    return ScheduledEvent(0.0, topic, event)


def _topic_key_value(fields: _Line, line: bytes) -> tuple[str, bytes, bytes | None]:
    if fields.topic is None:
        key = (fields.post_id or "").encode()
        if fields.kind is not msgspec.UNSET:
            return ENGAGEMENTS, key, line
        if any(f is not msgspec.UNSET for f in (fields.author_id, fields.text, fields.deleted)):
            return POSTS, key, line
        raise BadEvent(
            "Expected `topic` and `value`, or a post (`author_id`, `text`), or an engagement "
            "(`kind`), got none of these"
        )
    if isinstance(fields.value, msgspec.UnsetType):
        raise BadEvent("Object missing required field `value`")
    raw = bytes(fields.value)
    value = None if raw == b"null" else raw
    if fields.key is None and value is not None:
        try:
            return fields.topic, (_decode_line(value).post_id or "").encode(), value
        except msgspec.DecodeError as error:
            raise BadEvent(f"{error} - in `$.value`") from None
    return fields.topic, (fields.key or "").encode(), value


def _decode(topic: str, key: bytes, value: bytes | None, names: SignalNames) -> object:
    if topic == POSTS:
        return decode_post(key, value)
    if topic == ENGAGEMENTS:
        return decode_engagement(key, value)
    if topic == "labels":
        return decode_label(key, value)
    if topic == "overrides":
        return decode_override(names, key, value)
    name = topic.removeprefix("signals.")
    if name != topic and name in names.all:
        return decode_signal(name, names, key, value or b"")
    raise BadEvent(
        "Expected a topic of posts, engagements, labels, overrides, or signals.<a declared "
        f"signal>, got {topic[:80]!r} - at `$.topic`"
    )


def open_lines(options: ReplayOptions, names: SignalNames, counts: Counts) -> EventSource:
    """Open a file or standard input as a stream of events.

    Bad lines are skipped: `counts.skipped` has their number, `counts.complaints` the first of them
    with line number and reason.

    Raises `UsageError`: the file cannot be read, or with `options.strict` a line is bad.
    """

    def parsed(lines: Iterator[bytes | None]) -> Iterator[ScheduledEvent | None]:
        return _parsed(lines, names, counts)

    if options.source == "-" and not options.strict:
        return EventSource(_paced(parsed(lines_of_stdin()), options))
    handle = spooled(lines_of_stdin()) if options.source == "-" else open_file(Path(options.source))
    if options.strict:
        _refuse_bad(parsed(lines_of_file(handle)), counts, options.source)
        handle.seek(0)
    return EventSource(_paced(parsed(lines_of_file(handle)), options))


def _parsed(
    lines: Iterator[bytes | None], names: SignalNames, counts: Counts
) -> Iterator[ScheduledEvent | None]:
    number = 0
    for line in lines:
        if line is None:
            yield None
            continue
        number += 1
        if not line.strip():
            continue
        try:
            if len(line) > MAX_LINE_BYTES:
                raise BadEvent(f"Expected at most {MAX_LINE_BYTES} bytes, got more")
            yield parse_line(line, names)
        except BadEvent as error:
            counts.skipped += 1
            counts.add_complaint(f"line {number}: {error}")


def _refuse_bad(parsed: Iterator[ScheduledEvent | None], counts: Counts, source: str) -> None:
    for _ in parsed:
        pass
    if counts.skipped:
        more = counts.skipped - len(counts.complaints)
        listed = "\n  ".join(counts.complaints) + (f"\n  and {more} more" if more else "")
        raise UsageError(
            f"{source}: {counts.skipped} bad lines, nothing was sent; correct them, or skip them "
            f"by leaving out --strict:\n  {listed}"
        )


def _paced(
    parsed: Iterator[ScheduledEvent | None], options: ReplayOptions
) -> Iterator[ScheduledEvent | None]:
    """Set due times: by the rate if there is one, by the events' times if a speed is, else 0."""
    by_own_times = options.speed is not None and options.rate is None
    sent, first_ms, due_s = 0, None, 0.0
    posts = 0
    for scheduled in parsed:
        if scheduled is None:
            yield None
            continue
        if options.posts and scheduled.topic == POSTS:
            if posts == options.posts:
                return
            posts += 1
        if options.rate:
            due_s = sent / options.rate
        elif by_own_times and (at_ms := _own_time_ms(scheduled)) is not None:
            first_ms = at_ms if first_ms is None else first_ms
            due_s = max(due_s, (at_ms - first_ms) / 1000)
        sent += 1
        yield scheduled._replace(due_s=due_s)


def _own_time_ms(scheduled: ScheduledEvent) -> int | None:
    event = scheduled.event
    if isinstance(event, Post):
        return event.created_at_ms
    return event.at_ms if isinstance(event, Engagement) else None
