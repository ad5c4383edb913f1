"""A worker reports to its supervisor through a pipe: one line per second."""

from __future__ import annotations

import binascii
import os
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping

import msgspec

STATUS_FD = "FEEDMILL_STATUS_FD"


class Status(msgspec.Struct, frozen=True):
    """The state of a worker.

    `not_ready` is "" if it is ready, else the reason; `metrics` are in Prometheus' text format.
    `error` is why the process is about to end, in the last status of one that fails.
    """

    not_ready: str
    metrics: str
    error: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Status).decode


def encode(status: Status) -> bytes:
    """Return the line of a status, without its end.

    Compressed to a twentieth: a pipe holds 64 KiB, and metrics with many partitions are larger.
    """
    return b64encode(zlib.compress(_encode(status), 1))


def decode(line: bytes) -> Status:
    """Return the status of a line.

    Raises
    ------
    msgspec.DecodeError
        The line is not whole.
    """
    try:
        return _decode(zlib.decompress(b64decode(line)))
    except (binascii.Error, zlib.error) as error:
        raise msgspec.DecodeError(f"not a whole line: {error}") from error


def status_pipe(variables: Mapping[str, str]) -> int | None:
    """The file descriptor of the pipe to the supervisor; None if there is no supervisor."""
    text = variables.get(STATUS_FD, "")
    return int(text) if text.isdecimal() else None


def write_status(pipe: int, status: Status) -> bool:
    """Write one line without blocking; a full pipe drops it. False if the supervisor is gone."""
    try:
        os.write(pipe, encode(status) + b"\n")
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True
