"""The presets `reddit` and `bluesky`: real posts from the data folder, with simulated reactions.

The files are not part of the project, and no row of them is ever copied into it.

The numbers of likes, replies and shares are proportional to those of the data set, and few enough
to be sent.  The data sets tell neither who reacted nor when, nor who only looked: **users, delays,
clicks and impressions are simulated**.  An impression and a click precede each reaction, so that a
post never has more clicks than impressions.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.events.errors import UsageError
from feedmill.events.limits import MAX_TEXT_CHARACTERS
from feedmill.events.post import Post
from feedmill.simulation.schedule import (
    ENGAGEMENTS,
    POSTS,
    EventSchedule,
    EventSource,
    ScheduledEvent,
)

DEFAULT_POSTS = 3000
DEFAULT_RATE = 200.0

_LINK = re.compile(r"https?://[^\s<>\"')\]]+")
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_AUTHORS_PER_SUBREDDIT = 300

Row = Mapping[str, str]

# No post gets more than so many times the mean; without a cap, one post of ten thousand would get a
# tenth of all reactions.
CAP = 20.0
# Users see a post within this time.
SPREAD_S = 10.0
REACTIONS: tuple[EngagementKind, ...] = ("like", "reply", "share")
# The number of users. It is a prime, so that steps of any size visit each user once.
_AUDIENCE = 10_007


@dataclass(frozen=True)
class ReplayedPost:
    """A post of a data set; its id and time still change before it is sent.

    `reaction_counts` are those of the data set, in the order of `REACTIONS`.
    """

    post: Post
    reaction_counts: tuple[float, float, float]


@dataclass(frozen=True)
class ReplayDataset:
    """The file of a preset in the data folder, and how one of its rows becomes a post."""

    file: str
    parse_row: Callable[[Row], ReplayedPost]


def from_reddit(row: Row) -> ReplayedPost:
    """Ups count as likes, comments as replies. The file has no authors: the id determines one."""
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
        # The file has only the domain; the id as path makes links differ.
        links=(f"https://{domain}/{row['id']}",) if linked else None,
        communities=(subreddit,),
    )
    return ReplayedPost(post, (_count(row["ups"]), _count(row["num_comments"]), 0.0))


def from_bluesky(row: Row) -> ReplayedPost:
    """Reposts and quotes count as shares. The file has no languages."""
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
    """Read the rows of a file one by one; raises `UsageError` if it is missing or broken."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as handle:
            yield from csv.DictReader(handle)
    except FileNotFoundError:
        raise UsageError(
            f"the data folder {path.parent} has no {path.name}; name the folder that has it with "
            "--data or FEEDMILL_DATA, or use `feedmill replay demo`, which needs no data"
        ) from None
    except (OSError, EOFError, csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}; download the file again") from None


def sample(
    rows: Iterator[Row],
    parse_row: Callable[[Row], ReplayedPost],
    count: int,
    rng: np.random.Generator,
) -> list[ReplayedPost]:
    """Draw `count` posts (0: all) in random order, with no more than `count` of them in memory.

    The files are sorted by subreddit, so their first rows would be a single community.
    Source: reservoir sampling, Vitter's algorithm R.
    """
    kept: list[ReplayedPost] = []
    for seen, row in enumerate(rows):
        if not count or seen < count:
            kept.append(parse_row(row))
        elif (slot := int(rng.integers(seen + 1))) < count:
            kept[slot] = parse_row(row)
    return [kept[i] for i in rng.permutation(len(kept))]


def open_dataset(  # noqa: PLR0913 - one parameter per option, all by name
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
    """Open the stream of a sample of a preset's posts and of their engagements.

    Parameters
    ----------
    name, folder
        The preset, a key of `DATA_SETS`, and the data folder.
    posts
        How many posts to draw; 0 for all.
    rate
        Posts per second; 0 sends all at once.
    reactions, impressions
        Mean number per post. Reactions are scaled to this mean over the drawn posts; impressions
        are those of users who do not react.
    run
        Part of every post id and event id.
    rng
        The source of all randomness.
    loop
        Whether to start again at the end, with new ids.

    Raises `UsageError`: the file is missing, broken, or another one than expected.
    """
    data_set = DATA_SETS[name]
    try:
        drawn = sample(rows_of(folder / data_set.file), data_set.parse_row, posts, rng)
    except (KeyError, ValueError, TypeError) as error:
        raise UsageError(
            f"{folder / data_set.file} is not the file that this preset expects: {error!r}; "
            "download it again, or use `feedmill replay demo`"
        ) from None
    counts = np.array([each.reaction_counts for each in drawn], np.float64).reshape(-1, 3)
    factor = scale_to_mean(counts.sum(axis=1), reactions)
    simulator = ReactionSimulator(factor, reactions, impressions, run, rng)
    events = _events(drawn, counts, simulator, rate, loop=loop)
    return EventSource(events, None if loop else len(drawn))


def _events(
    posts: list[ReplayedPost],
    counts: npt.NDArray[np.float64],
    simulator: ReactionSimulator,
    rate: float,
    *,
    loop: bool,
) -> Iterator[ScheduledEvent]:
    schedule = EventSchedule()
    sent = 0
    while posts:
        for replayed, reaction_counts in zip(posts, counts, strict=True):
            rounds = sent // len(posts)
            suffix = simulator.run if not rounds else f"{simulator.run}-{rounds + 1}"
            post = _with_id_suffix(replayed.post, suffix)
            due_s = sent / rate if rate else 0.0
            yield from schedule.until(due_s)
            yield ScheduledEvent(due_s, POSTS, post)
            schedule.add(simulator.draw(post.post_id, due_s, reaction_counts))
            sent += 1
        if not loop:
            break
    yield from schedule.rest()


def _with_id_suffix(post: Post, suffix: str) -> Post:
    return Post(
        f"{post.post_id}-{suffix}",
        post.author_id,
        0,
        post.text,
        lang=post.lang,
        links=post.links,
        communities=post.communities,
    )


def scale_to_mean(counts: npt.NDArray[np.float64], mean: float) -> float:
    """Find the factor for which `min(CAP * mean, factor * counts)` has this mean.

    If no factor is large enough, because too many counts are 0, all others get the cap.
    """
    positive = counts[counts > 0]
    if not len(positive) or mean <= 0:
        return 0.0
    cap = CAP * mean
    low, high = 0.0, cap / float(positive.min())
    for _ in range(80):
        middle = (low + high) / 2
        if float(np.minimum(cap, middle * counts).mean()) < mean:
            low = middle
        else:
            high = middle
    return high


@dataclass
class ReactionSimulator:
    """Draws the engagements of one post after the other.

    Parameters
    ----------
    factor, mean
        A post has ``min(CAP * mean, factor * counts)`` reactions; see `scale_to_mean`.
    impressions
        Mean number per post of users who look and do not react.
    run
        Part of every event id.
    rng
        The source of all randomness.
    """

    factor: float
    mean: float
    impressions: float
    run: str
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self._ids = itertools.count(1)

    def draw(
        self, post_id: str, due_s: float, reaction_counts: npt.NDArray[np.float64]
    ) -> list[ScheduledEvent]:
        """The engagements of a post that is due at `due_s`.

        `reaction_counts` has shape (3,): the data set's counts in the order of `REACTIONS`.
        """
        events: list[ScheduledEvent] = []
        total = float(reaction_counts.sum())
        expected = min(CAP * self.mean, self.factor * total)
        count = int(expected + self.rng.random())  # rounded at random, which keeps the mean
        passive = int(self.rng.poisson(self.impressions))
        users = self._users(count + passive)
        delays = self._delays(count + passive)
        if count:
            kinds = np.repeat(np.arange(3), self.rng.multinomial(count, reaction_counts / total))
            steps = self.rng.uniform(0.05, 2.0, (count, 2))
            for j in range(count):
                seen_s = due_s + float(delays[j])
                clicked_s = seen_s + float(steps[j, 0])
                reacted_s = clicked_s + float(steps[j, 1])
                user = next(users)
                events.append(self._event(seen_s, post_id, user, "impression"))
                events.append(self._event(clicked_s, post_id, user, "click"))
                events.append(self._event(reacted_s, post_id, user, REACTIONS[kinds[j]]))
        for j in range(count, count + passive):
            seen_s = due_s + float(delays[j])
            events.append(self._event(seen_s, post_id, next(users), "impression"))
        return events

    def _event(self, due_s: float, post_id: str, user: str, kind: EngagementKind) -> ScheduledEvent:
        event = Engagement(post_id, user, kind, 0, event_id=f"{self.run}-{next(self._ids)}")
        return ScheduledEvent(due_s, ENGAGEMENTS, event)

    def _delays(self, count: int) -> npt.NDArray[np.float64]:
        """Delays in seconds by a truncated exponential: mostly short, at most `SPREAD_S`."""
        fraction = 1 - np.exp(-3.0)
        delays: npt.NDArray[np.float64] = np.log1p(-fraction * self.rng.random(count))
        return delays * (-SPREAD_S / 3)

    def _users(self, count: int) -> Iterator[str]:
        """So many different users."""
        start, step = (int(x) for x in self.rng.integers(1, _AUDIENCE, 2))
        return (f"sim-{(start + step * j) % _AUDIENCE}" for j in range(count))
