"""A stage reports to its supervisor through a pipe: one line of JSON per second."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

STATUS_FD = "FEEDMILL_STATUS_FD"


class Status(msgspec.Struct, frozen=True):
    """The state of a stage instance.

    `not_ready` is "" if it is ready, else the reason; `metrics` are in Prometheus' text format.
    """

    stage: str
    instance: str
    pid: int
    not_ready: str
    metrics: str


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Status).decode


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
