"""A stage is a list of steps: what the worker hands each of them, and what they hand back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from feedmill.events.engagement import Engagement
from feedmill.events.instance import Instance
from feedmill.events.post import Deletion, Post
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal
from feedmill.features.post_batch import PostBatch
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.observe.legs import Arrivals
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.settings.clock import LogClock

# By partition why posts must not be judged, by their offsets.
Poisoned = Mapping[int, Mapping[int, str]]
NO_POISON: Poisoned = {}
# Whether nothing was ever written of a post of a partition.
NeverWas = Callable[[int, str], bool]


class Writer(Protocol):
    """Takes what steps write; it reaches Kafka with the offsets of the cycle, or not at all."""

    def add(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        owner: TopicPartition,
        partition: int | None = None,
    ) -> None:
        """Gather a record for a topic (named without the prefix).

        `owner` is the partition of `posts`, or the shard, whose owner writes it: once that is lost,
        the record is dropped.  `partition` is the owner's unless given: right for every topic that
        is partitioned like `posts`.
        """
        ...

    def reject(
        self,
        one: RejectedRecord,
        stage: str,
        at_ms: int,
        *,
        owner: TopicPartition,
        is_whole: bool = True,
    ) -> bool:
        """Gather the dead letter of a record that `stage` rejected at `at_ms`.

        Return whether it has one of its own: beyond a rate, or without its key and value
        (`is_whole`), it shares one with others of its partition.  `owner` as of `add`.
        """
        ...

    def note(self, at: TopicPartition, name: str, text: str) -> None:
        """Commit a short text beside the offset of an owned partition; see `notes`.

        It is in the transaction of what this cycle adds.  All notes of a partition share some
        3,900 bytes.  A note stays until it is replaced, or removed by an empty text.
        """
        ...


class PostPartition(NamedTuple):
    """The events of one partition of `posts` in one cycle, in the order of their offsets.

    `events` are all valid records; `rows` are where its posts (deletions left out) stand in
    `WorkBatch.posts`, in the same order.
    """

    source: TopicPartition
    events: Sequence[tuple[Record, Post | Deletion]]
    rows: range


class EngagementPartition(NamedTuple):
    """The engagements of one partition in one cycle, in the order of their offsets."""

    source: TopicPartition
    events: Sequence[tuple[Record, Engagement]]


class LatestEvent(NamedTuple):
    """The last record of a post within a cycle; `row` is in `WorkBatch.posts`, -1: a deletion."""

    partition: int
    record: Record
    event: Post | Deletion
    row: int


class WrittenSignal(NamedTuple):
    """A signal that a step wrote to `signals.<name>` in this cycle; `signal` None removes it."""

    name: str
    post_id: str
    signal: Signal | None


@dataclass(eq=False)
class Trial:
    """Posts that another process judges first; `is_over` once it is known which end it."""

    is_over: bool = False


def each_may_have_been(_partition: int, _post_id: str) -> bool:
    """Say of every post that something may have been written of it."""
    return False


@dataclass(frozen=True, slots=True)
class WorkBatch:
    """All that one cycle brought, decoded and validated once for all steps.

    Attributes
    ----------
    now_ms
        The log's time at the beginning of the cycle, Unix milliseconds.
    partitions
        The events of `posts` by partition; partitions without any are left out.
    posts
        All posts of the cycle, superseded versions too, one row each; what one step computes
        of them (normalised texts, hashes) the next one finds.
    records
        The record of each row of `posts`.
    unjudged
        By row why no model judges a post: its signals are errors, and it has no text here.
    latest
        What holds of each post at the end of the cycle; what it superseded needs no signal, nor
        does the deletion of a post that never was.
    newest
        The last of `latest` of each partition.
    engagements
        The engagements by partition.
    rejected
        Records of `posts` and `engagements` that break the contract; the worker dead-letters them.
    arrivals
        The records of the cycle, for metrics: see `feedmill_leg_seconds`.
    signals
        What the steps of this cycle wrote so far, in order; a step that writes a signal appends it,
        and the combiner's step reads them here instead of from Kafka.
    """

    now_ms: int
    partitions: Sequence[PostPartition] = ()
    posts: PostBatch = field(default_factory=lambda: PostBatch([]))
    records: Sequence[Record] = ()
    unjudged: Mapping[int, str] = field(default_factory=dict)
    latest: Sequence[LatestEvent] = ()
    newest: Sequence[LatestEvent] = ()
    engagements: Sequence[EngagementPartition] = ()
    rejected: Sequence[RejectedRecord] = ()
    arrivals: Sequence[Arrivals] = ()
    signals: list[WrittenSignal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a worker lends a step: `connection` for logs of its own, the log's time, metrics.

    `metrics` carry the step's name as their stage; `partitions` is how many partitions `posts` and
    every co-partitioned topic have.  `hurry` has the worker publish its heartbeats at once.
    `newest_settings` reads on and returns what `settings_changed` will bring, None before any.
    `settings_complete` says whether `config` was read to its end since the last assignment,
    `lists_complete` whether `models` was, and its lists are loaded.  `is_live` says whether the
    worker reads all its partitions, and took what had waited in them.  `poisoned` says which posts
    must not be judged, since they would end the worker; `try_posts` has posts tried that are scored
    again, where that ended a worker before.  `written` says by partition the offset behind what
    this worker is known to have committed there last.  `is_second` says whether another group runs
    the stage, too, and has the right of way; None while Kafka has not said so.  `signals_fetched`
    observes what came of other workers, for metrics.
    """

    connection: Connection
    clock: LogClock
    metrics: Metrics
    partitions: int
    hurry: Callable[[], None] = lambda: None
    newest_settings: Callable[[], Settings | None] = lambda: None
    settings_complete: Callable[[], bool] = lambda: True
    lists_complete: Callable[[], bool] = lambda: True
    is_live: Callable[[], bool] = lambda: True
    poisoned: Poisoned = field(default_factory=dict)
    try_posts: Callable[[TopicPartition, Sequence[Record]], Trial | None] = lambda *_: None
    written: Callable[[], Mapping[TopicPartition, int]] = dict
    is_second: Callable[[], bool | None] = lambda: False
    signals_fetched: Callable[[Sequence[RecordBatch]], Sequence[Arrivals]] = lambda _: ()


class Step(ABC):
    """One part of what a worker does; the worker calls all steps in order, in one thread.

    Only the order in `Worker(steps=…)` matters: a step sees what earlier ones did in the same
    cycle.  No call may block, but see `ranks`, and none may work for more than 20 ms at a time,
    `apply` on its batch apart: what takes longer goes into slices of `background`.

    Attributes
    ----------
    name
        The stage it belongs to: `spam`, …, `engagement`, `combiner`.  Names its heartbeat.
    models
        The versions of its models, by name, for the heartbeat.
    ranks
        Whether readers wait for what it makes of new settings.  It gets the newest ones after each
        step of a cycle, too, before the others do, and may wait for what it wrote, up to 20 ms.
    """

    name: str = ""
    ranks = False

    def __init__(self) -> None:
        self.models: dict[str, str] = {}

    def start(self, context: StepContext) -> None:
        """Load models and make clients; called once, before the worker joins its group.

        Overriding methods call this first: it keeps `self.context`.
        """
        self.context = context

    def never_was(self, partition: int, post_id: str) -> bool:
        """Return whether it is sure that no step ever wrote anything of a post.

        Asked before `apply`, of deletions: no step need withdraw what never was; and of
        engagements, which then wait until the posts before them are read.
        """
        return False

    def settings_changed(self, settings: Settings) -> None:  # noqa: B027 - not every step needs it
        """Follow new settings; called before the first batch and whenever `config` changed them."""

    def applied_offset(self) -> int | None:
        """Return the last record of `config` whose effect can be seen; None: all that came."""
        return None

    def prepare(self, likely: AssignmentChange) -> None:  # noqa: B027 - not every step needs it
        """Restore what can be of partitions that may come, `gained`, as far as there is room.

        Others go on with them behind `starts`; the next assignment says which of them come.
        """

    @property
    def may_join(self) -> bool:
        """Whether it has restored what it needs whatever its partitions will be, and `prepare` did.

        Beside others a worker joins its group only then.
        """
        return True

    def on_assigned(self, change: AssignmentChange) -> None:  # noqa: B027 - not every step needs it
        """Drop the state of `change.lost`, begin to restore that of `change.gained`.

        Called between two batches.  While `ready_for` is False of a partition, the worker reads
        nothing of it.
        """

    def ready_for(self, partition: int) -> bool:
        """Return whether posts of this partition may come: its state is restored."""
        return True

    def ready_for_engagements(self, partition: int) -> bool:
        """Return whether engagements of this partition may come, where its posts may."""
        return True

    @property
    def is_urgent(self) -> bool:
        """Whether readers wait for what it restores or writes: meanwhile nobody else's turn comes.

        Then `poll` and `background` of urgent steps alone are called.  Only for the time before
        the worker's first batch of posts.
        """
        return False

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to do but for new records; asked after `background`."""
        return True

    def poll(self, writer: Writer) -> bool:
        """Read what came on logs of its own, without waiting; return whether anything did.

        Called at the beginning of every cycle.  Where one step returns True, `apply` of all
        steps follows, with an empty batch if no input came.
        """
        return False

    @abstractmethod
    def apply(self, work: WorkBatch, writer: Writer) -> None:
        """Deal with a cycle's records; what is added to `writer` is committed with their offsets.

        What it raises goes to `failed`.
        """

    def failed(self, work: WorkBatch, error: Exception, writer: Writer) -> None:
        """Deal with what `apply` raised.  The default ends the worker with it.

        A step of one model alone overrides this: it writes signals with an error, so that a
        broken model harms nothing but its own signal.
        """
        raise error

    def background(self, writer: Writer, budget_s: float) -> bool:
        """Work on something long for at most `budget_s` of processor time; whether there is more.

        Called after `apply` in each cycle, also when no record came.
        """
        return False

    @property
    def capped_sources(self) -> Collection[str]:
        """The sources of which it would hide too much, for the heartbeat."""
        return ()

    @property
    def refused_writes(self) -> int:
        """How many of its writes Redis refused since the start, for the heartbeat."""
        return 0

    @property
    def shards(self) -> Collection[int]:
        """The shards of feeds that it ranks and writes, for the heartbeat."""
        return ()

    @property
    def logs_lag(self) -> int:
        """How many records of logs of its own it has not read, for the heartbeat."""
        return 0

    @property
    def scores_again(self) -> bool:
        """Whether it has earlier posts to judge again, some at a time."""
        return False

    def heartbeat(self, instance: Instance, at_ms: int) -> None:  # noqa: B027 - few steps need it
        """Take a heartbeat of any worker's stage, stamped by the broker at `at_ms`."""

    def ready_reason(self) -> str:
        """Say why the step cannot serve yet; "" when it can."""
        return ""

    def close(self) -> None:  # noqa: B027 - not every step needs it
        """Let go of everything; called once, after the last commit, within a few seconds."""
