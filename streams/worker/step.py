"""What a worker hands its steps, and what the steps hand back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn, Protocol

from feedmill.events.engagement import Engagement
from feedmill.events.instance import Instance
from feedmill.events.post import Deletion, Post
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal
from feedmill.features.post_batch import PostBatch
from feedmill.streams.kafka.assignment import POSTS, AssignmentChange
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.commits import TransactionalWriter
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.validation import RejectedRecord
from feedmill.streams.observe.legs import Arrivals
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.settings.clock import LogClock

# Takes what steps write; a record reaches Kafka with the cycle's offsets or not at all.
Writer = TransactionalWriter
# By partition and offset, why a post must not be judged.
Poisoned = Mapping[int, Mapping[int, str]]
NO_POISON: Poisoned = {}
# Says of a partition and a post id whether nothing was ever written about that post.
NeverWas = Callable[[int, str], bool]


class PostPartition(NamedTuple):
    """The events of one partition of `posts` in one cycle, in the order of their offsets.

    `events` are all valid records; `rows` are the rows of its posts, without deletions, in
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
    """Posts that another process judges first; `is_over` once it is known which posts end it."""

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
        All posts of the cycle, superseded versions too, one row each.  It keeps what a step
        computes of the posts (normalised texts, hashes) for the next step.
    records
        The record of each row of `posts`.
    unjudged
        By row why no model judges a post; the post has no text here, and its signals are errors.
    latest
        The last record of each post.  Superseded records need no signal, nor does the deletion of
        a post about which nothing was ever written.
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


class WorkerView:
    """What a step may ask its worker; these answers are of a worker that is alone and has read all.

    Called on the loop's thread; nothing here blocks.
    """

    def hurry(self) -> None:
        """Publish the worker's heartbeats at once."""

    def newest_settings(self) -> Settings | None:
        """Read on, and return what `settings_changed` will bring; None before any settings."""
        return None

    def has_read_settings(self) -> bool:
        """Return whether `config` was read to its end since the last assignment."""
        return True

    def has_loaded_lists(self) -> bool:
        """Return whether `models` was read to its end, and its lists are loaded or refused."""
        return True

    def is_live(self) -> bool:
        """Return whether the worker reads all its partitions, and took what had waited there."""
        return True

    def try_posts(self, source: TopicPartition, records: Sequence[Record]) -> Trial | None:
        """Have posts tried that are scored again; None where no worker ended in this partition."""
        return None

    def written(self) -> Mapping[TopicPartition, int]:
        """Return by partition the offset behind what this worker is known to have committed."""
        return {}

    def is_second(self, stage: str) -> bool | None:
        """Return whether another group that runs a stage has the right of way.

        None while Kafka has not said which groups there are.
        """
        return False

    def signals_fetched(self, batches: Sequence[RecordBatch]) -> Sequence[Arrivals]:
        """Measure when signals of other workers came."""
        return ()


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a worker lends a step.

    Attributes
    ----------
    connection
        For logs of the step's own.
    clock
        The log's time.
    metrics
        They carry the step's name as their stage.
    partitions
        How many partitions `posts` and every co-partitioned topic have.
    poisoned
        The posts that must not be judged, since they would end the worker.
    worker
        The worker itself.
    """

    connection: Connection
    clock: LogClock
    metrics: Metrics
    partitions: int
    poisoned: Poisoned = field(default_factory=dict)
    worker: WorkerView = field(default_factory=WorkerView)


class StepStatus(NamedTuple):
    """What a step says of itself to readiness, heartbeats and metrics.

    Attributes
    ----------
    reason
        Why the step cannot serve yet; "" when it can.
    may_join
        True once the step has restored what it needs whatever its partitions will be, and what
        `prepare` asked for.  Beside others a worker joins its group only then.
    applied_offset
        The last record of `config` whose effect can be seen; None: all that came.
    capped_sources
        The sources of which the step would hide too much.
    refused_writes
        How many of the step's writes Redis has refused since the start.
    shards
        The shards of feeds that the step ranks and writes.
    logs_lag
        How many records of logs of its own the step has not read.
    """

    reason: str = ""
    may_join: bool = True
    applied_offset: int | None = None
    capped_sources: Collection[str] = ()
    refused_writes: int = 0
    shards: Collection[int] = ()
    logs_lag: int = 0


class Step(ABC):
    """One part of what a worker does; the worker calls all steps in order, in one thread.

    Only the order in `Worker(steps=…)` matters: a step sees what earlier ones did in the same
    cycle.  No call may block (but see `ranks`) or work for more than 20 ms at a time,
    except `apply` on its batch: what takes longer goes into slices of `background`.

    Attributes
    ----------
    name
        The stage it belongs to: `spam`, …, `engagement`, `combiner`.  Names its heartbeat.
    models
        The versions of its models, by name, for the heartbeat.
    ranks
        True if the step writes feeds.  After every step of a cycle a step that ranks gets the
        newest settings, before all other steps, and may wait up to 20 ms for what it wrote.
    """

    name: str = ""
    ranks = False
    models: Mapping[str, str] = MappingProxyType({})

    def start(self, context: StepContext) -> None:
        """Load models and make clients; called once, before the worker joins its group.

        Overriding methods call this first: it keeps `self.context`.
        """
        self.context = context

    def never_was(self, partition: int, post_id: str) -> bool:
        """Return True if it is certain that no step ever wrote anything about a post.

        The worker asks this before `apply`: the deletion of such a post withdraws nothing, and
        engagements with such a post wait until the posts before them are read.
        """
        return False

    def settings_changed(self, settings: Settings) -> None:  # noqa: B027 - not every step needs it
        """Follow new settings; called before the first batch and whenever `config` changed them."""

    def prepare(self, likely: AssignmentChange) -> None:  # noqa: B027 - not every step needs it
        """Read ahead what can be restored of partitions that may come (`likely.gained`).

        Other workers judge these partitions meanwhile, from `likely.starts` on; the next
        assignment says which of the partitions come.
        """

    def on_assigned(self, change: AssignmentChange) -> None:  # noqa: B027 - not every step needs it
        """Drop the state of `change.lost`, begin to restore that of `change.gained`.

        Called between two batches.
        """

    def ready_for(self, partition: int, topic: str = POSTS) -> bool:
        """Return whether the step has restored what records of a partition need.

        While one step returns False, the worker reads nothing of the partition.  `topic` is
        `posts`, or `engagements`, which is asked only where `posts` of the partition may come.
        """
        return True

    @property
    def is_urgent(self) -> bool:
        """True while a restore or a write must finish before other steps run.

        Then the worker calls `poll` and `background` of urgent steps alone.  Only for the time
        before the worker's first batch of posts.
        """
        return False

    @property
    def is_idle(self) -> bool:
        """True while the step has nothing to do until records come; asked after `background`."""
        return True

    def poll(self, writer: Writer) -> bool:
        """Read, without waiting, what came on the step's own logs; return whether anything came.

        Called at the beginning of every cycle.  If a step returns True, `apply` of all steps
        follows, with an empty batch if no input came.
        """
        return False

    @abstractmethod
    def apply(self, work: WorkBatch, writer: Writer) -> None:
        """Deal with a cycle's records; what is added to `writer` is committed with their offsets.

        An exception goes to `failed`.
        """

    def failed(self, work: WorkBatch, error: Exception, writer: Writer) -> None:
        """Deal with what `apply` raised.  The default ends the worker with it.

        A step of one model alone overrides this: it writes signals with an error, so that a
        broken model harms nothing but its own signal.
        """
        raise error

    def background(self, writer: Writer, budget_s: float) -> bool:
        """Do long work for at most `budget_s` of processor time; return whether more is left.

        Called after `apply` in each cycle, also when no record came.
        """
        return False

    def status(self) -> StepStatus:
        """Return what the step says of itself; asked some times a second."""
        return StepStatus()

    def heartbeat(self, instance: Instance, at_ms: int) -> None:  # noqa: B027 - few steps need it
        """Take a heartbeat of any worker's stage, stamped by the broker at `at_ms`."""

    def close(self) -> None:  # noqa: B027 - not every step needs it
        """Let go of everything; called once, after the last commit, within a few seconds."""


class HoldsModel(Protocol):
    """What judges posts by `model`: a step, or its candidate."""

    model: Any

    def stop_model(self, reason: str) -> None:
        """Judge no more posts by this model."""
        ...


class StoppedModel:
    """Takes the place of a model that must judge no more: each call raises with the reason."""

    def __init__(self, model: Any, reason: str) -> None:
        self.name = model.name
        self.version = model.version
        self.reason = reason

    def _fail(self, *_: object) -> NoReturn:
        raise RuntimeError(self.reason)

    # All calls that steps make of a text model or of the engagement model.
    score_many = score_batch = prior_many = prior_batch = variance_many = _fail


class ModelStep(Step):
    """A step of one model, which has the step's name and can be replaced while the step runs."""

    model: Any

    @property
    def is_stopped(self) -> bool:
        """True from `stop_model` to the next `swap`: every post fails."""
        return isinstance(self.model, StoppedModel)

    @property
    def scores_again(self) -> bool:
        """True while the step has earlier posts to judge again."""
        return False

    @abstractmethod
    def swap(self, model: Any) -> None:
        """Go on with another version of the model, which is warm; called between two cycles."""

    def stop_model(self, reason: str) -> None:
        """Fail on all posts until the next `swap`; called between two cycles.

        After that `swap` the posts of the last week are scored again, since the model may have
        erred before it was stopped.  Overriding methods call this first.
        """
        self.model = StoppedModel(self.model, reason)

    def version_at(self, partition: int) -> str:
        """Return the version that judges the posts of a partition."""
        return self.models[self.name]
