"""Lines of files and of standard input, plain or gzip, without ever blocking the event loop long.

A file is read where it is needed: a disk answers at once.  Standard input may be a pipe that
says nothing for an hour; a thread of its own waits there.
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


_CHUNK = 64 * 1024
_CHUNKS_AHEAD = 64


def open_file(path: Path) -> IO[bytes]:
    """Open a file of lines; raises `UsageError` if it cannot be read."""
    try:
        return unzipped(path.open("rb"))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}; give a file of JSON lines, `-` for standard "
            "input, or a preset: reddit, bluesky, demo"
        ) from None


def unzipped(handle: _Peekable) -> IO[bytes]:
    """The plain bytes of a stream, which is gzip if it begins so."""
    if handle.peek(2)[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.GzipFile(fileobj=cast(IO[bytes], handle), mode="rb"))
    return cast(IO[bytes], handle)


def lines_of_file(handle: IO[bytes]) -> Iterator[bytes]:
    """Its lines; of one that is too long the beginning, one byte more than `MAX_LINE_BYTES`."""
    try:
        while line := handle.readline(MAX_LINE_BYTES + 1):
            rest = line
            while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
                rest = handle.readline(MAX_LINE_BYTES + 1)
            yield line
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"cannot read on: {error}; is the file whole?") from None


def lines_of_stdin(descriptor: int = 0) -> Iterator[bytes | None]:
    """Lines as they arrive; None where the next is not there yet."""
    chunks: queue.Queue[bytes | UsageError] = queue.Queue(_CHUNKS_AHEAD)
    # A daemon: nothing can wake a thread that waits for a silent pipe.
    threading.Thread(target=_read_ahead, args=(descriptor, chunks), daemon=True).start()
    begun = b""
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
        *whole, begun = (begun + chunk).split(b"\n")
        yield from whole
        if len(begun) > MAX_LINE_BYTES:
            begun = begun[: MAX_LINE_BYTES + 1]
    if begun:
        yield begun


def spooled(lines: Iterator[bytes | None]) -> IO[bytes]:
    """All of them in a temporary file, to be read more than once."""
    handle = cast(IO[bytes], tempfile.TemporaryFile())  # noqa: SIM115 - lives as long as the run
    for line in lines:
        if line is None:
            time.sleep(0.01)
        else:
            handle.write(line + b"\n")
    handle.seek(0)
    return handle


def _read_ahead(descriptor: int, chunks: queue.Queue[bytes | UsageError]) -> None:
    # Not through `sys.stdin`: the interpreter could not shut down while it is being read.
    raw = io.BufferedReader(io.FileIO(descriptor, closefd=False))
    try:
        handle = cast(gzip.GzipFile, unzipped(raw))
        while chunk := handle.read1(_CHUNK):
            chunks.put(chunk)
        chunks.put(b"")
    except (OSError, EOFError, zlib.error) as error:
        chunks.put(UsageError(f"cannot read standard input: {error}"))
