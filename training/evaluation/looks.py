"""The log of looks: each evaluation on test rows, by whom it was asked for and why.

A figure on rows that were looked at often is flattering, because whoever looks chooses by it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from feedmill.events.errors import UsageError


class Look(msgspec.Struct, frozen=True):
    """One look at test rows: the day, the reason, the models, and the rows of each data set."""

    day: str
    why: str
    models: list[str]
    rows: dict[str, int]


def read_looks(path: Path) -> list[Look]:
    """Read a log, JSON lines, the first look first; none where there is no file.

    Raises `UsageError`: a line is no look, or the file cannot be read.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Look) for line in lines if line.strip()]
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"{path}: expected a look in each line, as JSON ({error})") from error


def log_look(path: Path, look: Look) -> int:
    """Append a look to a log, made if need be, and return how many it has; raises `UsageError`."""
    number = len(read_looks(path)) + 1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(msgspec.json.encode(look) + b"\n")
    except OSError as error:
        raise UsageError(f"cannot write the log of looks {path}: {error}") from error
    return number
