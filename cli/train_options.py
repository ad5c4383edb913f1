"""What `feedmill train` and `evaluate` are told, where their data are, and the log of looks."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from feedmill.cli import FILE, Duration, flag, option, together
from feedmill.cli.output import warn
from feedmill.events.errors import UsageError
from feedmill.models.artifact import ModelCard
from feedmill.models.store_files import Store
from feedmill.rankers.registry import RANKERS
from feedmill.streams.kafka.topic_table import DAY_MS
from feedmill.streams.settings.clock import now_ms
from feedmill.training.datasets.labelled_posts import unix_ms
from feedmill.training.evaluation.looks import Look, log_look
from feedmill.training.progress import Tell, silent

SHIPPED = "shipped"


@dataclass(frozen=True)
class TrainOptions:
    """The options of `feedmill train`, with the store that gets the model.

    `since_ms` is 0 where nobody said it.  `tell` is told what is done now.
    """

    model: str
    data: tuple[str, ...]
    ordinary: tuple[str, ...]
    base: str | None
    from_labels: bool
    since_ms: int
    store: Store
    from_topics: bool
    wait_ms: int | None
    keeps_rows: bool
    is_following: bool
    every_ms: int | None
    window_ms: int | None
    look: str | None
    looks: Path | None
    day: str | None
    tell: Tell = silent

    @property
    def trained_on(self) -> str:
        """The day that the card states."""
        return self.day or today()

    @property
    def reaction_ms(self) -> int:
        """How long a reaction is waited for."""
        return self.wait_ms or DAY_MS

    @property
    def followed_ms(self) -> int:
        """How old labels and impressions are that `--follow` learns from."""
        return self.window_ms or 7 * DAY_MS

    @property
    def command(self) -> str:
        """The command for the card, with the files' names but not their folders."""
        words = ["feedmill", "train", self.model]
        if self.base is not None:
            words += ["--base", SHIPPED if self.base == SHIPPED else Path(self.base).name]
        for given, paths in (("--data", self.data), ("--ordinary", self.ordinary)):
            for path in paths:
                file, comma, columns = path.partition(",")
                name = "DATA" if Path(path).is_dir() else Path(file).name
                words += [given, name + comma + columns]
        if self.from_labels:
            words.append("--from-labels")
        if self.from_topics:
            words.append("--from-topics")
        if not self.keeps_rows and (self.is_following or self.model not in RANKERS):
            words.append("--no-snapshot")
        return shlex.join([*words, "--follow"] if self.is_following else words)


def today() -> str:
    """Return the day, as a card states it."""
    return datetime.now(UTC).date().isoformat()


def check_of_filter(*, from_topics: bool, wait_ms: int | None) -> None:
    """Raise `UsageError` where a filter is to learn as a ranker does."""
    if from_topics or wait_ms is not None:
        raise UsageError("--from-topics is for rankers; a filter learns by --from-labels")


topic_options = together(
    flag("--from-topics", "Learn from posts and engagements, or from labels of quality."),
    option(
        "--wait", "A click comes so long after an impression. [24h]", Duration(), name="wait_ms"
    ),
)
follow_options = together(
    flag("--follow", "Train as labels or impressions come; see above.", "is_following"),
    option("--every", "Look so often.  [5m; engagement: 1h]", Duration(), name="every_ms"),
    option(
        "--window",
        "On what is so old, counted from midnight UTC.  [7d]",
        Duration(),
        name="window_ms",
    ),
)
look_options = together(
    option("--look WHY", "Measure on the test rows, and log why.  [not]"),
    option("--looks FILE", "The log of looks.  [looks.jsonl]", FILE),
)


def report_look(
    why: str, path: Path | None, cards: Iterable[ModelCard], sources: Sequence[tuple[str, int]]
) -> None:
    """Log a look at so many test rows of each source, and say which one it is."""
    path = path or Path("looks.jsonl")
    models = [f"{card.name}@{card.version}" for card in cards]
    number = log_look(path, Look(today(), why, models, dict(sources)))
    warn(f"look {number} at the test rows, logged in {path}")


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


def time_since(text: str | None) -> int:
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
