"""Labelled texts for training and judging, read from the data folder; never needed online.

Groups (subreddit, video, domain, page, author, test) are never split: `part_of` puts a whole group
into ``train``, ``tune`` (thresholds, calibration) or ``judge`` (only ever measured), by a hash.
"""

from __future__ import annotations

import csv
import gzip
import html
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import UsageError

Part = Literal["train", "tune", "judge"]
PARTS: tuple[Part, ...] = ("train", "tune", "judge")
# The opening of the longest texts is enough to learn from, and keeps training short.
_MAX_TRAINING_CHARACTERS = 2_000
# Of so few groups a hash could leave none to learn from: the last by name judges.
_FEW_GROUPS = 6


def part_of(family: str, group: str) -> Part:
    """Return the part a group belongs to: half train, a quarter each tune and judge."""
    bucket = zlib.crc32(f"{family}|{group}".encode()) % 100
    return "train" if bucket < 50 else "tune" if bucket < 75 else "judge"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts of one source with a label each (1 violates, 0 fine; or a value in [0, 1])."""

    source: str
    texts: list[str]
    labels: npt.NDArray[np.float64]
    groups: list[str]
    parts: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.texts)

    def where(self, mask: npt.NDArray[np.bool_]) -> Corpus:
        """Return the rows where `mask` is true."""
        kept = np.flatnonzero(mask)
        return Corpus(
            self.source,
            [self.texts[i] for i in kept],
            self.labels[kept],
            [self.groups[i] for i in kept],
            self.parts[kept],
        )

    def part(self, part: Part) -> Corpus:
        """Return the rows of one part."""
        return self.where(self.parts == part)

    def sample(self, rows: int, seed: int) -> Corpus:
        """Return at most `rows` rows, drawn without replacement, in their order."""
        if len(self) <= rows:
            return self
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[np.random.default_rng(seed).choice(len(self), rows, replace=False)] = True
        return self.where(mask)


def corpus(
    source: str,
    family: str,
    rows: Iterable[tuple[str, float, str]],
) -> Corpus:
    """Build a corpus of (text, label, group); empty texts and repeated ones are left out.

    Numbered copies of one message are the same text here: digits count as one digit.
    """
    texts, labels, groups, seen = [], [], [], set()
    for text, label, group in rows:
        clean = html.unescape(text).strip()[:_MAX_TRAINING_CHARACTERS]
        key = "".join("0" if c.isdigit() else c for c in clean.casefold() if not c.isspace())
        if key and key not in seen:
            seen.add(key)
            texts.append(clean)
            labels.append(label)
            groups.append(group)
    names = sorted(set(groups))
    if len(names) < _FEW_GROUPS:
        assigned: dict[str, Part] = dict.fromkeys(names, "train")
        assigned[names[-1]] = "judge"
    else:
        assigned = {name: part_of(family, name) for name in names}
    parts = np.array([assigned[group] for group in groups], dtype=np.str_)
    return Corpus(source, texts, np.array(labels, dtype=np.float64), groups, parts)


def read_rows(folder: Path, name: str) -> list[dict[str, str]]:
    """Read ``<name>.csv.gz`` of the data folder; raises `UsageError`."""
    path = folder / f"{name}.csv.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise UsageError(f"no data at {path} ({error}); give the folder with --data") from error


def text_key(text: str) -> str:
    """Return a group for texts without one: the same opening words are one group."""
    return " ".join("".join(c for c in text.casefold() if c.isalpha() or c == " ").split()[:4])


Loader = Callable[[Path], Corpus]


def _reddit(folder: Path) -> Corpus:
    rows = read_rows(folder, "engagement_reddit_top")
    return corpus(
        "reddit",
        "reddit",
        (
            (
                f"{r['title']}\n{r['selftext']}",
                float(r["over_18"] == "True"),
                r["subreddit"].lower(),
            )
            for r in rows
        ),
    )


def _facebook(folder: Path) -> Corpus:
    rows = read_rows(folder, "engagement_facebook_news")
    return corpus("facebook", "facebook", ((r["message"], 0.0, r["page_id"]) for r in rows))


def _hackernews(folder: Path) -> Corpus:
    rows = read_rows(folder, "engagement_hackernews20k")
    return corpus("hackernews", "hackernews", ((r["title"], 0.0, r["author"]) for r in rows))


def _bluesky(folder: Path) -> Corpus:
    rows = read_rows(folder, "engagement_bluesky_a")
    return corpus("bluesky", "bluesky", ((r["text"], 0.0, r["author"]) for r in rows))


ORDINARY: tuple[Loader, ...] = (_reddit, _facebook, _hackernews, _bluesky)


def ordinary(folder: Path) -> list[Corpus]:
    """Read the ordinary posts; the label says over_18 (Reddit's flag), everything else is 0."""
    return [load(folder) for load in ORDINARY]


def join(corpora: Sequence[Corpus]) -> Corpus:
    """Put corpora one after the other; the groups carry the source's name."""
    return Corpus(
        "+".join(c.source for c in corpora),
        [text for c in corpora for text in c.texts],
        np.concatenate([c.labels for c in corpora]),
        [f"{c.source}|{group}" for c in corpora for group in c.groups],
        np.concatenate([c.parts for c in corpora]),
    )
