"""How a stage tells its supervisor how it is: one JSON line a second through a pipe."""

from __future__ import annotations

import os

import msgspec

STATUS_FD = "FEEDMILL_STATUS_FD"


class Status(msgspec.Struct, frozen=True):
    """What a stage instance says of itself; `not_ready` is "" when it is ready."""

    stage: str
    instance: str
    pid: int
    not_ready: str
    metrics: str


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Status).decode


def status_pipe(environ: os._Environ[str]) -> int | None:
    """The pipe a supervisor left for this process, if one did."""
    text = environ.get(STATUS_FD, "")
    return int(text) if text.isdecimal() else None


def write_status(pipe: int, status: Status) -> bool:
    """Write one line; False when the supervisor is gone.  A full pipe drops the line."""
    try:
        os.write(pipe, encode(status) + b"\n")
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True
