"""What `feedmill train` and `evaluate` share: where the data are, and times on a command line."""

from __future__ import annotations

import os
import re
from pathlib import Path

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.topic_table import DAY_MS
from feedmill.streams.settings.clock import now_ms
from feedmill.training.datasets.labelled_posts import unix_ms


def data_folder() -> Path:
    """The folder of the data sets: FEEDMILL_DATA, by default `../shared/data`.

    Raises `UsageError` where there is none.
    """
    folder = Path(os.environ.get("FEEDMILL_DATA", "../shared/data"))
    if not folder.is_dir():
        raise UsageError(
            f"no data: give --data FILE (`feedmill sample` makes one to try it with); there is no"
            f" folder of data sets at {folder} either, which FEEDMILL_DATA names"
        )
    return folder


def since_ms(text: str | None) -> int:
    """A time in Unix milliseconds, 0 for None.

    Raises `UsageError` unless the text is ISO 8601 or a number of milliseconds, and past.
    """
    if text is None:
        return 0
    try:
        found = int(text) if re.fullmatch(r"\d+", text) else unix_ms(text)
    except ValueError as error:
        raise UsageError(
            f"--since: expected ISO 8601 or Unix milliseconds, found `{text}`"
        ) from error
    # Other clocks may be ahead of this one.
    if found > now_ms() + DAY_MS:
        raise UsageError(f"--since: expected a time that is past, found `{text}`")
    return found
