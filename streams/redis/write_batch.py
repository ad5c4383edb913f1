"""What the loop hands to the Redis writer, and what it gets back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from feedmill.events.partition import shard_of, shards_of
from feedmill.rankers.combiner import FeedChange, SignalsChange
from feedmill.streams.observe.legs import Arrivals


@dataclass(frozen=True)
class WriteBatch:
    """Changes to write, in order: signals, feeds, removals of feeds.

    A post's signals stand in the batch of the first feed that shows it, or in an earlier one.

    Attributes
    ----------
    now_ms
        The log's time, Unix milliseconds: for versions, and for how long feeds count as fresh.
    tokens
        By shard the token of this owner: an integer that grows with every owner of the shard.  Read
        on the writer's thread, so it must not change.
    signals
        At most one for each post.  A change of a post's record is written whole.
    feeds
        At most one for each feed.  A new owner's first change of a feed is written whole, as is
        one of its weights or gates.
    removed_feeds
        Feeds that exist no more; nothing else of them is in the batch.
    ended
        By feed the arms of experiments that ended in it, which a removed feed takes with it.
    fresh_feeds
        Those of `feeds`, and by `arm_list` those of their arms, that count as fresh for another
        while.
    feeds_first
        Write feeds before signals: what is to be done after a flush, or when Redis was away.
    """

    now_ms: int
    tokens: Mapping[int, int]
    signals: Sequence[SignalsChange] = ()
    feeds: Sequence[FeedChange] = ()
    removed_feeds: Sequence[str] = ()
    fresh_feeds: Collection[str] = frozenset()
    arrivals: Sequence[Arrivals] = ()
    feeds_first: bool = False
    ended: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def token_of(self, feed: str) -> int:
        """Return the token of a feed's shard."""
        return self.tokens[shard_of(feed)]

    def tokens_of_signals(self) -> list[int]:
        """Return the tokens of the shards of the posts of `signals`, shape (len(signals),)."""
        return [self.tokens[at] for at in shards_of([change.post_id for change in self.signals])]


@dataclass(frozen=True)
class FinishedBatch:
    """A batch that was dealt with, at `finished_s` of `time.monotonic`.

    `unwritten` counts its changes that Redis does not show: they are written again later, or
    are a newer owner's.
    """

    batch: WriteBatch
    finished_s: float
    unwritten: int

    def measure(self) -> None:
        """Observe how long the records behind it took, if Redis shows all of it."""
        if not self.unwritten:
            for arrivals in self.batch.arrivals:
                arrivals.written(self.finished_s)


@dataclass
class WriteReport:
    """What happened since the last report.

    Attributes
    ----------
    flushed
        Redis lost what was written: everything is to be written whole, feeds first.
    rewrite_feeds, rewrite_posts
        To be written whole from the newest state, feeds first: Redis does not hold what a change
        was about, or the change failed and its back-off is over.  A name that the loop does not
        know, or does not own any more, is ignored; removals that failed are repeated here.
    refused_feeds, refused_posts
        Not written, since a newer owner holds them.
    newer_owners
        By shard the highest token of those owners.
    existing_feeds
        Every feed of the writer's shards in Redis, and perhaps some that are gone.  None where it
        did not look.
    errors
        How many commands failed, by Redis' code (OOM, WRONGTYPE, …) or the kind of error, and
        how often Redis took no writes when it was asked (`AWAY`).
    """

    finished: list[FinishedBatch] = field(default_factory=list)
    written_feeds: dict[str, int] = field(default_factory=dict)
    written_posts: int = 0
    flushed: bool = False
    rewrite_feeds: set[str] = field(default_factory=set)
    rewrite_posts: set[str] = field(default_factory=set)
    refused_feeds: set[str] = field(default_factory=set)
    refused_posts: set[str] = field(default_factory=set)
    newer_owners: dict[int, int] = field(default_factory=dict)
    existing_feeds: tuple[str, ...] | None = None
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def is_plain(self) -> bool:
        """Whether all that was submitted is written, and nothing follows from it."""
        follows = self.flushed or self.rewrite_feeds or self.rewrite_posts
        failed = self.errors or self.refused_feeds or self.refused_posts
        if follows or failed or self.existing_feeds is not None:
            return False
        return not any(batch.unwritten for batch in self.finished)

    def refuse_feed(self, feed: str, token: int) -> None:
        """A newer owner has the feed, under this token."""
        self.refused_feeds.add(feed)
        self._note_newer(shard_of(feed), token)

    def refuse_post(self, post_id: str, token: int) -> None:
        """A newer owner has the post, under this token."""
        self.refused_posts.add(post_id)
        self._note_newer(shard_of(post_id), token)

    def _note_newer(self, shard: int, token: int) -> None:
        self.newer_owners[shard] = max(self.newer_owners.get(shard, 0), token)

    def add(self, later: WriteReport) -> None:
        """Take up what a later report says."""
        self.finished += later.finished
        self.written_feeds |= later.written_feeds
        self.written_posts += later.written_posts
        self.flushed |= later.flushed
        self.rewrite_feeds |= later.rewrite_feeds
        self.rewrite_posts |= later.rewrite_posts
        self.refused_feeds |= later.refused_feeds
        self.refused_posts |= later.refused_posts
        for shard, token in later.newer_owners.items():
            self._note_newer(shard, token)
        if later.existing_feeds is not None:
            self.existing_feeds = later.existing_feeds
        if later.errors:
            self.errors += later.errors
