"""The options of a replay, its counts while it runs, and its summary."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from feedmill.events.errors import UsageError

PRESETS = ("reddit", "bluesky", "demo")
_RUN = re.compile(r"[A-Za-z0-9._-]{1,32}\Z")
_MAX_COMPLAINTS = 20
# Options of the command by attribute.
_NOT_NEGATIVE = {
    "rate": "--rate",
    "speed": "--speed",
    "reactions": "--reactions",
    "impressions": "--impressions",
    "audience": "--audience",
    "duration_s": "--for",
}


@dataclass(frozen=True)
class ReplayOptions:
    """What to replay, and how fast.

    Raises `UsageError` for values that make no sense.

    Attributes
    ----------
    source
        A preset, a file of JSON lines, or `-` for standard input.
    posts
        End after so many posts; 0 for all; None for 3,000 of a data set, else for all.
    rate
        Posts per second of a preset, records per second of a file; 0 for as fast as possible;
        None for 200 of a data set, 5 of the demo, and 0 of files.
    speed
        Send so many times as fast. A file without `rate` then keeps the intervals of its events;
        without a speed it is sent as fast as possible.
    reactions, impressions
        Of the data sets: mean number per post of likes, replies and shares together, and of
        simulated impressions of users who do not react.
    audience
        Of the demo: engagements per second.
    read
        Of the demo: the feed in Redis that the audience reads; None for a slate of its own.
    seed
        The seed of everything that is random.
    data
        The folder of the data sets.
    duration_s
        End after so many seconds; 0 for no limit.
    loop
        Of the data sets: start again at the end, with new post ids.
    run
        Part of the post ids, which makes them differ from those of other runs; None for one that
        is derived from the time.
    keep_times
        Of a file: keep the times of its events instead of the time of sending.
    strict
        Of a file: send nothing if one line is bad.
    """

    source: str
    posts: int | None = None
    rate: float | None = None
    speed: float | None = None
    reactions: float = 5.0
    impressions: float = 5.0
    audience: float = 100.0
    read: str | None = None
    seed: int = 0
    data: Path = Path("../shared/data")
    duration_s: float = 0.0
    loop: bool = False
    run: str | None = None
    keep_times: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        for name, option in _NOT_NEGATIVE.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{option}: expected a number of at least 0, got {value}")
        if self.speed == 0:
            raise UsageError(
                "--speed: expected a number above 0, got 0; --rate 0 sends as fast as possible"
            )
        if self.run is not None and not _RUN.match(self.run):
            raise UsageError(
                f"--run: expected 1 to 32 letters, digits, `.`, `_` and `-`, got {self.run!r}"
            )
        if self.is_preset and (self.keep_times or self.strict):
            raise UsageError(
                f"--keep-times and --strict work on files only, and {self.source} is a preset;"
                " leave them out"
            )
        if self.read is not None and self.source != "demo":
            raise UsageError("--read works on the preset demo only; leave it out")
        if self.loop and self.source not in ("reddit", "bluesky"):
            raise UsageError(
                "--loop works on the presets reddit and bluesky only; leave it out (demo never"
                " ends by itself)"
            )

    @property
    def is_preset(self) -> bool:
        """Whether the source is a preset, not a file."""
        return self.source in PRESETS


@dataclass
class Counts:
    """The counts of a replay while it runs, for a progress display.

    Each event in `sent` becomes `acknowledged` or `failed`. `skipped` are bad lines of a file.
    `complaints` has the reasons of the first 20 failed events and bad lines.
    """

    expected_posts: int | None = None
    posts: int = 0
    engagements: int = 0
    others: int = 0
    acknowledged: int = 0
    failed: int = 0
    skipped: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """How many events were sent, of all topics."""
        return self.posts + self.engagements + self.others

    def add_complaint(self, text: str) -> None:
        """Keep a reason, unless there are enough of them."""
        if len(self.complaints) < _MAX_COMPLAINTS:
            self.complaints.append(text)


@dataclass(frozen=True)
class ReplaySummary:
    """What a replay sent; `acknowledged` + `failed` is `posts` + `engagements` + `others`.

    `kinds` has the number of engagements by kind. `ended` is why the replay ended: "end" of the
    source, "time" is over, "stopped", or "failed".
    """

    posts: int
    engagements: int
    others: int
    acknowledged: int
    failed: int
    skipped: int
    seconds: float
    kinds: dict[str, int]
    complaints: list[str]
    run: str
    ended: str
