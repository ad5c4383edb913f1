"""The step of the engagement ranker: it counts reactions, and says what to expect of each post.

Counts, signals and offsets are committed in one transaction, so each event counts once.  After a
release earlier posts get the prior of the new model from their text, and with it a new value.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from feedmill.events.built_in import FURTHER_SIGNALS
from feedmill.events.decode import encode
from feedmill.events.engagement import EngagementKind
from feedmill.events.partition import partition_of
from feedmill.events.post import Deletion, Post
from feedmill.events.rates import RATES, Rates, rate_value
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.reaction_rates import rate_steps
from feedmill.streams.engagement.engagement_restore import EngagementRestore
from feedmill.streams.engagement.feature_row import TOPIC as FEATURES
from feedmill.streams.engagement.feature_row import encode_row, feature_rows, sample_limit, sampled
from feedmill.streams.engagement.packed_states import NO_OFFSET, PostState, encode_state
from feedmill.streams.engagement.partition_state import PartitionState, PostSource, Uncounted
from feedmill.streams.engagement.repeated_engagements import COMPLAINTS
from feedmill.streams.kafka.assignment import POSTS, AssignmentChange
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.kafka.log_consumer import LogConsumer
from feedmill.streams.kafka.topic_table import DAY_MS, HOUR_MS, WINDOW_MS
from feedmill.streams.scoring.rescoring import Rescoring
from feedmill.streams.worker.step import (
    ModelStep,
    StepContext,
    StepStatus,
    WorkBatch,
    Writer,
    WrittenSignal,
)

_MINUTE_MS = 60_000
_MINUTES = 10
# A source with so many doubtful hides and reports in ten minutes is brigaded.
_MANY = 50
_SUM_EVERY_MS = 1_000
# How many sources are counted a minute, and how many names are kept.
_MOST_SOURCES = 10_000

MODEL = "engagement"

log = logging.getLogger(__name__)

COUNTERS = "counters"
SIGNAL = "signals.engagement"
_ERROR_CHARACTERS = 500
# Posts that are too old are looked for once a minute, so many rows at a time.
_EXPIRE_EVERY_MS = 60_000
_EXPIRE_ROWS = 1_000


class Brigades:
    """The communities and authors that got many doubtful hides and reports in the last ten minutes.

    They are for an alarm alone, by the clock, and therefore not restored.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[str, int], str] = {}
        self._minutes: dict[int, Counter[tuple[str, int]]] = {}
        self._brigaded: list[str] = []
        self._summed_ms = 0

    def learn(self, post: Post, source: PostSource) -> None:
        """Learn what the community and the author of a post are called."""
        for kind, key, name in (
            ("community", source.community, (post.communities or ("",))[0]),
            ("author", source.author, post.author_id),
        ):
            self._names.pop((kind, key), None)
            self._names[kind, key] = name
        while len(self._names) > _MOST_SOURCES:
            del self._names[next(iter(self._names))]

    def doubt(self, state: PostState, now_ms: int) -> None:
        """Count a hide or report of a post that counts little or not at all."""
        found = self._minutes.setdefault(now_ms // _MINUTE_MS, Counter())
        for source in (("community", state.community), ("author", state.author)):
            if source[1] and (source in found or len(found) < _MOST_SOURCES):
                found[source] += 1
                # The names of a post from before a restart are not known.
                self._names.setdefault(source, f"of post {state.post_id}")

    def sources(self, now_ms: int) -> list[str]:
        """Return the brigaded sources, as `community:<name>` and `author:<id>`.

        They are summed up at most once a second.
        """
        if 0 <= now_ms - self._summed_ms < _SUM_EVERY_MS:
            return self._brigaded
        self._summed_ms = now_ms
        since = now_ms // _MINUTE_MS - _MINUTES
        self._minutes = {minute: n for minute, n in self._minutes.items() if minute > since}
        total = sum(self._minutes.values(), Counter[tuple[str, int]]())
        self._brigaded = sorted(
            f"{kind}:{self._names.get((kind, key), '')}"
            for (kind, key), count in total.items()
            if count >= _MANY
        )
        return self._brigaded


class FurtherSignals:
    """The signals beside `engagement`: written while some feed weighs them, and no longer.

    A value follows from a post's counts alone, and is rounded: a record is written only where the
    value is another one, or where the post came anew and has counts.

    Attributes
    ----------
    names
        The signals that are weighed, in the order of `FURTHER_SIGNALS`.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self._rates: Rates = RATES
        self._version = ""

    @property
    def version(self) -> str:
        """What values depend on: the model, the signals that are weighed, each with other rates."""
        rates = ((name, self._rates[name]) for name in self.names)
        parts = (n if r == RATES[n] else f"{n}:{r.base}/{r.strength}" for n, r in rates)
        return " ".join((self._version, *parts))

    def set_model(self, version: str) -> None:
        """Use a version of the model, which stands in the signals."""
        self._version = version

    def set_settings(self, settings: Settings) -> None:
        """Find which signals are weighed, and the rates that they begin with."""
        self._rates = settings.reaction_rates
        self.names = tuple(
            name
            for name in FURTHER_SIGNALS
            if name in settings.weighed and name in settings.names.all
        )

    def changed(
        self, state: PostState, before: PostState | None, at_ms: int
    ) -> Iterator[tuple[str, Signal]]:
        """Yield each signal of a post whose value differs from that before; with None, all of them.

        A post that never had counts gets none: without a record its value is the base of the kind.
        """
        if not any(state.counters.counts):
            return
        for name in self.names:
            rate = self._rates[name]
            steps = rate_steps(name, state.kept_counters, rate)
            if before is None or steps != rate_steps(name, before.kept_counters, rate):
                yield (
                    name,
                    Signal(
                        state.post_id,
                        state.post_offset,
                        rate_value(steps),
                        MODEL,
                        self._version,
                        at_ms,
                        revision=max(state.through, 0),
                    ),
                )


class EngagementStep(ModelStep):
    """Folds `engagements` into `counters`, and writes `signals.engagement` and `features`.

    While some feed weighs `FURTHER_SIGNALS`, it writes those too.

    A signal's `revision` is the last offset counted, so that an older count never replaces a newer
    one of the same version of a post.
    """

    name = "engagement"
    model: ExpectedClicks

    def __init__(self, load: Callable[[], ExpectedClicks]) -> None:
        super().__init__()
        self._load = load
        self._states: dict[int, PartitionState] = {}
        # By partition where its engagements ended when it came, until those before are read:
        # another worker may have shown what they say in a transaction that Kafka aborted.
        self._ends: dict[int, int] = {}
        self._further = FurtherSignals()
        self._brigades = Brigades()
        self._window_ms = WINDOW_MS
        self._expiring: Iterator[bool] = iter(())
        self._expired_at_ms = 0

    def start(self, context: StepContext) -> None:
        super().start(context)
        self._environment = context.connection.environment
        open_log = partial(LogConsumer, context.connection)
        self._rescoring = Rescoring(self.name, self._replace_priors, context, open_log)
        self.swap(self._load())
        self._sample_limit = sample_limit(self._environment.feature_share)
        if self._sample_limit:
            # A record for a topic that does not exist would keep every cycle from being committed.
            context.connection.offsets.partition_count(FEATURES, threading.Event(), needs="Write")
        self._restore = EngagementRestore(context.connection, context.partitions)

    def swap(self, model: ExpectedClicks) -> None:
        self.model = model
        self.models = {self.name: model.version}
        self._further.set_model(model.version)
        self._rescoring.set_versions(self._further.version)
        self._rescoring.hold(())

    def stop_model(self, reason: str) -> None:
        super().stop_model(reason)
        self._rescoring.hold(range(self.context.partitions))

    def settings_changed(self, settings: Settings) -> None:
        hours = max((spec.window_hours for spec in settings.feeds.values()), default=0)
        self._window_ms = max(WINDOW_MS, int(hours * HOUR_MS) + DAY_MS)
        self._further.set_settings(settings)
        self._rescoring.set_versions(self._further.version)

    def on_assigned(self, change: AssignmentChange) -> None:
        for partition in change.lost:
            self._states.pop(partition, None)
            self._ends.pop(partition, None)
        self._restore.drop(change.lost)
        self._restore.drop(self._restore.ahead.difference(change.gained))
        for partition in change.gained:
            source = TopicPartition("engagements", partition)
            start, end = change.starts.get(source, 0), change.ends.get(source, 0)
            state = self._restore.begin(partition, PartitionState(self._environment), start, end)
            self._states[partition], self._ends[partition] = state, end
        self._rescoring.assigned(change)

    def prepare(self, likely: AssignmentChange) -> None:
        for partition in self._restore.unknown(likely.gained):
            self._restore.read_ahead(partition, PartitionState(self._environment))

    def never_was(self, partition: int, post_id: str) -> bool:
        return not self._states[partition].has(post_id)

    def ready_for(self, partition: int, topic: str = POSTS) -> bool:
        has = self._restore.has_counts if topic == POSTS else self._restore.is_done
        return has(partition)

    def status(self) -> StepStatus:
        return StepStatus(
            self._restore.ready_reason(),
            may_join=self._restore.is_ahead(),
            capped_sources=self._brigaded_sources(),
        )

    @property
    def scores_again(self) -> bool:
        return self._rescoring.is_under_way

    def poll(self, writer: Writer) -> bool:
        unreadable = self._restore.read()
        if unreadable:
            self.context.metrics.add("feedmill_rejected_total", unreadable, topic=COUNTERS)
        return self._has_new_priors()

    def apply(self, work: WorkBatch, writer: Writer) -> None:
        self._rescoring.note_held(writer)
        deleted = self._store_posts(work)
        self._count_engagements(work)
        for partition, post_id in deleted:
            key, owner = post_id.encode(), TopicPartition("posts", partition)
            writer.add(SIGNAL, key, None, owner=owner)
            writer.add(COUNTERS, key, None, owner=owner)
            work.signals.append(WrittenSignal(self.name, post_id, None))
            for name in self._further.names:
                writer.add(f"signals.{name}", key, None, owner=owner)
                work.signals.append(WrittenSignal(name, post_id, None))
        self._write(work, writer)
        self._rescoring.note_written(work, writer)

    def background(self, writer: Writer, budget_s: float) -> bool:
        self._forget_old()
        if self.is_stopped:
            self._rescoring.note_held(writer)
        is_restored = all(map(self._restore.is_done, self._states))
        if not is_restored or self._has_new_priors() or self._restore.has_more:
            # Notes need the values before them, and new priors the posts that they are of.
            return self._restore.has_more
        return self._rescoring.work(writer, budget_s)

    @property
    def is_idle(self) -> bool:
        return all(map(self._restore.is_done, self._states))

    def close(self) -> None:
        self._restore.close()
        self._rescoring.close()

    def _forget_old(self) -> None:
        """Forget some posts that were neither written nor touched for the window."""
        if next(self._expiring, False):
            return
        now_ms = self.context.clock.now_ms()
        if now_ms - self._expired_at_ms >= _EXPIRE_EVERY_MS:
            self._expired_at_ms = now_ms
            self.context.metrics.set("feedmill_brigaded_sources", len(self._brigaded_sources()))
            self._expiring = self._expire(now_ms - self._window_ms)

    def _brigaded_sources(self) -> Collection[str]:
        return self._brigades.sources(self.context.clock.now_ms())

    def _has_new_priors(self) -> bool:
        """Whether values are to be written that no record of the next cycle brings."""
        return any(state.changed for state in self._states.values())

    def _replace_priors(
        self, records: Sequence[Record], posts: Sequence[Post], _: Sequence[Signal | None]
    ) -> list[Signal]:
        """Give earlier posts the prior of the present model; the next cycle writes their values."""
        priors = self._priors(PostBatch(posts)).tolist()
        for record, post, prior in zip(records, posts, priors, strict=True):
            partition = partition_of(post.post_id.encode(), self.context.partitions)
            self._states[partition].put_prior(post.post_id, record.offset, prior)
        return []

    def _store_posts(self, work: WorkBatch) -> list[tuple[int, str]]:
        """Store new and changed posts; return partition and id of those that are deleted."""
        if not work.latest:
            return []
        deleted = []
        priors = self._priors(work.posts).tolist()
        of_texts = work.posts.sketches
        for partition, record, event, row in work.latest:
            state = self._states[partition]
            if isinstance(event, Deletion):
                state.bury(event.post_id, record.timestamp)
                deleted.append((partition, event.post_id))
            else:
                source = PostSource.of(event, of_texts[row])
                at_ms = record.timestamp
                state.put_post(event.post_id, record.offset, priors[row], at_ms, source)
                self._brigades.learn(event, source)
        return deleted

    def _count_engagements(self, work: WorkBatch) -> None:
        for part in work.engagements:
            partition, (first, _) = part.source.partition, part.events[0]
            if first.offset >= self._ends.get(partition, 0):
                self._ends.pop(partition, None)
            states = self._states[partition]
            for (_, event), reason in zip(part.events, states.count(part.events), strict=True):
                if not reason:
                    continue
                self._add_uncounted(event.kind, reason)
                if event.kind in COMPLAINTS and reason in ("damped", "stranger", "unseen"):
                    state = states.find(event.post_id)
                    if state is not None:
                        self._brigades.doubt(state, work.now_ms)

    def _add_uncounted(self, kind: EngagementKind, reason: Uncounted) -> None:
        if reason == "repeated event":
            self.context.metrics.add("feedmill_duplicates_total")
        elif reason == "repeated user":
            self.context.metrics.add("feedmill_repeated_users_total", kind=kind)
        else:
            self.context.metrics.add("feedmill_damped_engagements_total", kind=kind)

    def _priors(self, posts: PostBatch) -> Scores:
        """Return what to expect of posts that nobody has seen; 0 where the model fails."""
        try:
            return self.model.prior_batch(posts)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            log.warning("the prior failed on a batch of %d: %r", len(posts), error)
        priors = np.zeros(len(posts))
        for row, post in enumerate(posts.posts):
            try:
                priors[row] = self.model.prior_many([post])[0]
            except Exception:  # noqa: BLE001 - counted; the post starts from 0
                self.context.metrics.add("feedmill_model_errors_total")
        return priors

    def _write(self, work: WorkBatch, writer: Writer) -> None:
        rows = [
            (partition, state)
            for partition, posts in self._states.items()
            for state in posts.changed.values()
        ]
        signals = [*self._signals(rows, work.now_ms)]
        for (partition, state), signal in zip(rows, signals, strict=True):
            key, owner = state.post_id.encode(), TopicPartition("posts", partition)
            writer.add(COUNTERS, key, encode_state(state), owner=owner)
            if signal is not None:
                writer.add(SIGNAL, key, encode(signal), owner=owner)
                work.signals.append(WrittenSignal(self.name, state.post_id, signal))
                if self._further.names:
                    self._write_further(partition, state, work, writer)
        if self._sample_limit:
            self._log_features(rows, signals, writer)
        for partition, posts in self._states.items():
            forgotten, owner = posts.pack(), TopicPartition("posts", partition)
            for post_id in forgotten:
                writer.add(COUNTERS, post_id.encode(), None, owner=owner)
            if forgotten:
                self.context.metrics.add("feedmill_unknown_posts_total", len(forgotten))

    def _write_further(
        self, partition: int, state: PostState, work: WorkBatch, writer: Writer
    ) -> None:
        owner = TopicPartition("posts", partition)
        # A value that another worker may have shown is written again, changed or not.
        may_be_shown = partition in self._ends
        before = None if may_be_shown else self._states[partition].before(state.post_id)
        for name, signal in self._further.changed(state, before, work.now_ms):
            writer.add(f"signals.{name}", state.post_id.encode(), encode(signal), owner=owner)
            work.signals.append(WrittenSignal(name, state.post_id, signal))

    def _log_features(
        self,
        rows: Sequence[tuple[int, PostState]],
        signals: Sequence[Signal | None],
        writer: Writer,
    ) -> None:
        """Log what the model read for a sample of the signals, before states are packed."""
        chosen = [
            (rows[place], signal)
            for place in sampled(rows, self._sample_limit)
            if (signal := signals[place]) is not None
        ]
        if not chosen:
            return
        for partition, row in feature_rows(chosen):
            owner = TopicPartition("posts", partition)
            writer.add(FEATURES, row.post_id.encode(), encode_row(row), owner=owner)
        self.context.metrics.add("feedmill_feature_rows_total", len(chosen))

    def _signals(
        self, rows: Sequence[tuple[int, PostState]], at_ms: int
    ) -> Iterable[Signal | None]:
        known = [state for _, state in rows if state.post_offset != NO_OFFSET]
        values, error = self._score(known)
        name, version = self.model.name, self.model.version
        at = iter(values.astype(np.float32).tolist())
        for partition, state in rows:
            if state.post_offset == NO_OFFSET:
                yield None
                continue
            value, post_offset = next(at), state.post_offset
            damped = self._states[partition].damped
            reason = _damping(damped.get(state.post_id)) if damped else None
            yield Signal(
                state.post_id,
                post_offset,
                None if error else value,
                name,
                version,
                at_ms,
                error,
                reason,
                revision=max(state.through, 0),
            )

    def _score(self, states: Sequence[PostState]) -> tuple[Scores, str | None]:
        if not states:
            return np.zeros(0), None
        priors = np.array([state.prior for state in states])
        try:
            return self.model.score_many(priors, [state.kept_counters for state in states]), None
        except Exception as error:  # noqa: BLE001 - goes into the signals; the last good ones hold
            log.warning("model %s failed on %d posts: %r", self.model.name, len(states), error)
            self.context.metrics.add("feedmill_model_errors_total", len(states))
            reason = f"{type(error).__name__}: {error}"[:_ERROR_CHARACTERS]
            return np.zeros(len(states)), reason

    def _expire(self, cutoff_ms: int) -> Iterator[bool]:
        for partition in tuple(self._states):
            first: int | None = 0
            while first is not None and partition in self._states:
                first = self._states[partition].expire(cutoff_ms, first, _EXPIRE_ROWS)
                yield True


def _damping(damped: Mapping[EngagementKind, int] | None) -> str | None:
    """Return what did not count because it came in a burst, as a reason; None if all counted."""
    if not damped:
        return None
    return "damped in a burst: " + ", ".join(f"{count} {kind}" for kind, count in damped.items())
