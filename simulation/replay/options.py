"""What a replay is asked to do, and what it did."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from feedmill.events.errors import UsageError

PRESETS = ("reddit", "bluesky", "demo")
_RUN = re.compile(r"[A-Za-z0-9._-]{1,32}\Z")


@dataclass(frozen=True)
class ReplayOptions:
    """How to replay.

    Attributes
    ----------
    source
        A preset, a file of JSON lines, or `-` for standard input.
    posts
        End after so many posts; 0: all there are; None: 3,000 of a data set, no limit else.
    rate
        Posts a second of a preset, records a second of a file; 0: as fast as it goes;
        None: 200 of a data set, 5 of the demo, and 0 for files.
    speed
        Everything so many times as fast.  For a file without `rate`, times of its own events;
        None there: as fast as it goes.
    reactions, impressions
        Of the data sets: mean likes, replies and shares a post, and mean simulated impressions
        a post by people who then do nothing.
    audience
        Of the demo: engagements a second.
    for_s
        End after so many seconds; 0: at the end, or when stopped.
    run
        What tells the post ids of this run from those of another; None: derived from the time.
    """

    source: str
    posts: int | None = None
    rate: float | None = None
    speed: float | None = None
    reactions: float = 5.0
    impressions: float = 5.0
    audience: float = 100.0
    seed: int = 0
    data: Path = Path("../shared/data")
    for_s: float = 0.0
    loop: bool = False
    run: str | None = None
    keep_times: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        for name in ("rate", "speed", "reactions", "impressions", "audience", "for_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name}: expected a number of at least 0, got {value}")
        if self.speed == 0:
            raise UsageError("speed: expected more than 0; `rate` 0 is as fast as it goes")
        if self.run is not None and not _RUN.match(self.run):
            raise UsageError(
                f"run: expected 1 to 32 letters, digits, `.`, `_` and `-`, got {self.run!r}"
            )
        if self.is_preset and (self.keep_times or self.strict):
            raise UsageError("keep-times and strict are for files, not for presets")
        if self.loop and self.source not in ("reddit", "bluesky"):
            raise UsageError("loop is for the presets `reddit` and `bluesky`; `demo` never ends")

    @property
    def is_preset(self) -> bool:
        return self.source in PRESETS


@dataclass
class Counts:
    """The live state of a replay, for whoever draws its progress.

    Every event that was `sent` ends as `acknowledged` or `failed`; `skipped` are bad lines of
    a file.  `complaints` keeps the first few reasons of either.
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
        return self.posts + self.engagements + self.others

    def complain(self, text: str) -> None:
        if len(self.complaints) < 20:
            self.complaints.append(text)


@dataclass(frozen=True)
class ReplaySummary:
    """What was sent: `acknowledged` + `failed` is `posts` + `engagements` + `others`.

    `kinds` counts engagements by kind.  `ended` says why: "end", "time" or "stopped".
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
