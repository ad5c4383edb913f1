"""The presets `reddit` and `bluesky`: real posts of the data folder, then their reactions.

The files lie outside the project and no row of them is ever copied into it.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import UsageError
from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.events.post import Post
from feedmill.simulation.replay.reactions import Reactions, scale_to_mean
from feedmill.simulation.schedule import POSTS, EventSchedule, EventSource, ScheduledEvent

DEFAULT_POSTS = 3000
DEFAULT_RATE = 200.0

_LINK = re.compile(r"https?://[^\s<>\"')\]]+")
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_AUTHORS_PER_SUBREDDIT = 300

Row = Mapping[str, str]


@dataclass(frozen=True)
class ReplayedPost:
    """A post of a data set: as it will be sent, but for id and time, and its known reactions."""

    post: Post
    reactions: tuple[float, float, float]  # in order of `reactions.REACTIONS`


@dataclass(frozen=True)
class ReplayDataset:
    """Where a preset's rows are and how one becomes a post."""

    file: str
    known: Callable[[Row], ReplayedPost]


def from_reddit(row: Row) -> ReplayedPost:
    """Ups become likes, comments replies.  The file has no authors: they are made up, stably."""
    subreddit = _NOT_A_NAME.sub("-", row["subreddit"])[:64] or "unknown"
    text = row["title"] if not row["selftext"] else f"{row['title']}\n\n{row['selftext']}"
    domain = row["domain"]
    linked = "." in domain and not domain.startswith("self.") and row["is_self"] != "True"
    digest = hashlib.blake2b(row["id"].encode(), digest_size=4).digest()
    author = int.from_bytes(digest, "big") % _AUTHORS_PER_SUBREDDIT
    post = Post(
        post_id=row["id"],
        author_id=f"{subreddit}-{author}",
        created_at_ms=0,
        text=text[:MAX_TEXT_CHARACTERS],
        lang="en",
        # The file knows the domain alone; the id as path keeps links apart.
        links=(f"https://{domain}/{row['id']}",) if linked else None,
        communities=(subreddit,),
    )
    return ReplayedPost(post, (_count(row["ups"]), _count(row["num_comments"]), 0.0))


def from_bluesky(row: Row) -> ReplayedPost:
    """Likes, replies; reposts and quotes become shares.  The file does not say the language."""
    repository, _, key = row["uri"].removeprefix("at://").partition("/")
    text = row["text"][:MAX_TEXT_CHARACTERS]
    post = Post(
        post_id=f"{repository}.{key.rpartition('/')[2]}",
        author_id=row["author"],
        created_at_ms=0,
        text=text,
        links=tuple(_LINK.findall(text)[:32]) or None,
        communities=("bluesky",),
    )
    shares = _count(row["repostCount"]) + _count(row["quoteCount"])
    return ReplayedPost(post, (_count(row["likeCount"]), _count(row["replyCount"]), shares))


DATA_SETS: Mapping[str, ReplayDataset] = {
    "reddit": ReplayDataset("engagement_reddit_top.csv.gz", from_reddit),
    "bluesky": ReplayDataset("engagement_bluesky_a.csv.gz", from_bluesky),
}


def _count(text: str) -> float:
    return max(0.0, float(text or 0))


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    """Stream the rows; raises `UsageError` where the folder is missing."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as handle:
            yield from csv.DictReader(handle)
    except FileNotFoundError:
        raise UsageError(
            f"no {path.name} in the data folder {path.parent}: set FEEDMILL_DATA or --data to the "
            "folder that has it, or use `feedmill replay demo`, which needs no data"
        ) from None
    except (OSError, EOFError, csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}; fetch the file again") from None


def sample(
    rows: Iterator[Row], known: Callable[[Row], ReplayedPost], count: int, rng: np.random.Generator
) -> list[ReplayedPost]:
    """Draw `count` posts (0: all), in random order, holding no more than these in memory.

    The files are sorted by subreddit: their first thousands would be one community.
    Source: reservoir sampling, Vitter's algorithm R.
    """
    kept: list[ReplayedPost] = []
    for seen, row in enumerate(rows):
        if not count or seen < count:
            kept.append(known(row))
        elif (slot := int(rng.integers(seen + 1))) < count:
            kept[slot] = known(row)
    return [kept[i] for i in rng.permutation(len(kept))]


def open_dataset(  # noqa: PLR0913 - the seam to the options, all by name
    name: str,
    folder: Path,
    *,
    posts: int,
    rate: float,
    reactions: float,
    impressions: float,
    run: str,
    rng: np.random.Generator,
    loop: bool = False,
) -> EventSource:
    """Read a sample of the preset's posts and make the stream of them and their engagements.

    Reactions are scaled so that their mean over this very sample is `reactions`.
    """
    data_set = DATA_SETS[name]
    try:
        known = sample(rows_of(folder / data_set.file), data_set.known, posts, rng)
    except (KeyError, ValueError, TypeError) as error:
        raise UsageError(
            f"{folder / data_set.file} is not the file this preset knows: {error!r}; "
            "fetch it again, or use `feedmill replay demo`"
        ) from None
    counts = np.array([k.reactions for k in known], np.float64).reshape(-1, 3)
    factor = scale_to_mean(counts.sum(axis=1), reactions)
    drawn = Reactions(factor, reactions, impressions, run, rng)
    events = _stream(known, counts, drawn, rate, loop=loop)
    return EventSource(events, None if loop else len(known))


def _stream(
    known: list[ReplayedPost],
    counts: npt.NDArray[np.float64],
    reactions: Reactions,
    rate: float,
    *,
    loop: bool,
) -> Iterator[ScheduledEvent]:
    agenda = EventSchedule()
    sent = 0
    while known:
        for row, reacted in zip(known, counts, strict=True):
            again = sent // len(known)
            suffix = reactions.run if not again else f"{reactions.run}-{again + 1}"
            post = _named(row.post, suffix)
            due_s = sent / rate if rate else 0.0
            yield from agenda.until(due_s)
            yield ScheduledEvent(due_s, POSTS, post)
            agenda.add(reactions.draw(post.post_id, due_s, reacted))
            sent += 1
        if not loop:
            break
    yield from agenda.rest()


def _named(post: Post, suffix: str) -> Post:
    return Post(
        f"{post.post_id}-{suffix}",
        post.author_id,
        0,
        post.text,
        lang=post.lang,
        links=post.links,
        communities=post.communities,
    )
