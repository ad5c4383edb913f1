"""Reads the lines of files and of standard input, plain or gzip, for use in an event loop.

Files are read directly, since a disk answers at once. Standard input may be a pipe that is silent
for an hour, so a thread of its own reads it.
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

from feedmill.events.errors import UsageError

MAX_LINE_BYTES = 8 * 1024 * 1024


class _Peekable(Protocol):
    def peek(self, size: int = ..., /) -> bytes: ...


_CHUNK_BYTES = 64 * 1024
_CHUNKS_AHEAD = 64


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
