"""A version that is tried beside the model in force: it judges some partitions, or none in shadow.

It says how the gate would differ by it (`ComparedPosts`).  The counts stand beside the offset of
each partition, so they are those of the signals that were committed.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from feedmill.events.decode import encode
from feedmill.events.instance import ComparedPosts
from feedmill.events.post import Post
from feedmill.events.release import Candidate
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal
from feedmill.features.post_batch import PostBatch
from feedmill.filters.hide_rate_guard import WINDOW_RECORDS
from feedmill.models.text_model import Scores, TextModel
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.scoring.batch_scores import ERROR_CHARACTERS, BatchScores, values_of_rows
from feedmill.streams.worker.step import LatestEvent, WorkBatch, Writer

SHADOW_TOPIC = "shadow"
# Before the model in the name of the note beside the offset of a partition of `posts`.
NOTE = "candidate."
# A call in shadow may hold the loop so long: of too many posts the candidate scores a sample.
_CALL_MS = 20.0
_MOST_POSTS = 10_000
# How long a candidate in shadow saves up the part of its share of a core that it did not use.
_SAVED_S = 1.0
_HOUR_MS = 3_600_000


class Gate(NamedTuple):
    """From which value on a gate hides, and from which it demotes or hides, in any feed."""

    hide_at: float = math.inf
    stop_at: float = math.inf

    @classmethod
    def of(cls, settings: Settings, name: str) -> Gate | None:
        """Return what the gate of a filter does; None where it counts in no feed."""
        policies = [settings.gates_of(feed)[name] for feed in ("", *settings.gates)]
        policies = [policy for policy in policies if policy.required]
        if not policies:
            return None
        hide_at = min(math.inf if p.hide_at is None else p.hide_at for p in policies)
        demote_at = min(math.inf if p.demote_at is None else p.demote_at for p in policies)
        return cls(hide_at, min(hide_at, demote_at))


class PostsOfHour:
    """Which authors and texts came in the present hour, by partition: each counts once.

    Of a partition it knows what the window of the hide-rate guard has, so that a restart restores
    it.
    """

    def __init__(self) -> None:
        # By partition and hash the hour, and the offset of the last post.
        self._seen: dict[int, dict[int, tuple[int, int]]] = {}

    def forget(self, partitions: Collection[int]) -> None:
        """Forget the posts of partitions that are gone, or are read again."""
        for partition in partitions:
            self._seen.pop(partition, None)

    def take(self, partition: int, record: Record, post: Post, since: Mapping[int, int]) -> bool:
        """Take a post; return whether its author and its text came for the first time.

        `since` says by partition from which offset on posts count.
        """
        hour = record.timestamp // _HOUR_MS
        keys = hash(("author", post.author_id)), hash((*post.text.casefold().split(),))
        is_first = not any(
            seen.get(key, (-1,))[0] == hour and seen[key][1] >= since.get(other, math.inf)
            for other, seen in self._seen.items()
            for key in keys
        )
        own = self._seen.setdefault(partition, {})
        for key in keys:
            own.pop(key, None)
            own[key] = hour, record.offset
        while len(own) > 2 * WINDOW_RECORDS:
            del own[next(iter(own))]
        return is_first


class ProcessorCap:
    """Keeps the processor time of some work within a share of the time that passes.

    A piece of work may go beyond the share; then the next piece waits until that is made up for.
    `core_share` is above 0 and at most 1; `now_s` returns seconds that never go back.
    """

    def __init__(self, core_share: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._core_share = core_share
        self._now_s = now_s
        self._allowed_s = core_share * _SAVED_S
        self._seen_s = now_s()

    def may_begin(self) -> bool:
        """Return whether the next piece of work may begin."""
        now_s = self._now_s()
        gained_s = (now_s - self._seen_s) * self._core_share
        self._allowed_s = min(self._allowed_s + gained_s, self._core_share * _SAVED_S)
        self._seen_s = now_s
        return self._allowed_s > 0

    def spend(self, seconds: float) -> None:
        """Take the processor time that a piece of work took."""
        self._allowed_s -= seconds


@dataclass
class CandidateScoring:
    """The candidate of a step.

    Attributes
    ----------
    model, offset, record
        The version, and the record of `models` that began it.
    ms_a_post
        How many milliseconds of processor a post took in its trial.
    hour
        Which posts count; None: all.
    failure
        What the candidate raised, or said outside [0, 1]; "" while it judges.  After a failure
        it judges no more: the posts of that cycle, too, keep what the model in force says.
    compared
        By partition how it differs from the model in force.
    """

    model: TextModel
    offset: int
    record: Candidate
    ms_a_post: float
    hour: PostsOfHour | None = None
    failure: str = ""
    compared: dict[int, ComparedPosts] = field(default_factory=dict)
    _since: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._cap = ProcessorCap(self.record.core_share)

    def judges(self, partition: int) -> bool:
        """Return whether the candidate judges the posts of a partition."""
        return not self.failure and partition < self.record.partitions

    def stop_model(self, reason: str) -> None:
        """Let the candidate judge no more."""
        self.failure = self.failure or reason

    def assigned(self, notes: Mapping[int, str]) -> None:
        """Go on with what the notes beside the offsets of the owned partitions say."""
        self.compared, self._since = {}, {}
        for partition, text in notes.items():
            offset, since, *counts = map(int, text.split())
            if offset == self.offset:
                self.compared[partition] = ComparedPosts(*counts)
                self._since[partition] = since

    def note(self, partition: int) -> str:
        """Return what is to stand beside the offset of a partition; "" for nothing."""
        if partition not in self.compared:
            return ""
        counts = msgspec.structs.astuple(self.compared[partition])
        return " ".join(map(str, (self.offset, self._since[partition], *counts)))

    def score(
        self,
        work: WorkBatch,
        scores: BatchScores,
        gate: Gate | None,
        writer: Writer,
        metrics: Metrics,
    ) -> BatchScores:
        """Return the scores with the candidate's on its partitions; raises nothing of its own.

        `scores` are those of the model in force on all posts of the cycle.  In shadow they stay as
        they are, and the topic `shadow` gets what the candidate says.
        """
        if self.failure:
            return scores
        is_shadow = not self.record.partitions
        events = [
            event
            for event in work.latest
            if event.row >= 0
            and event.row not in work.unjudged
            and (is_shadow or self.judges(event.partition))
        ]
        if is_shadow:
            chosen = self._drawn(events) if events and self._cap.may_begin() else []
            metrics.add("feedmill_shadow_skipped_total", len(events) - len(chosen))
            events, rows = chosen, [event.row for event in chosen]
        else:
            parts = [part for part in work.partitions if self.judges(part.source.partition)]
            rows = [row for part in parts for row in part.rows]
        if not rows:
            return scores
        start = time.thread_time()
        try:
            values = self._values(work.posts, rows)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            self.failure = f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS]
            return scores
        if gate is not None:
            said = dict(zip(rows, values.astype(np.float32).tolist(), strict=True))
            self._compare(events, scores, said, gate)
        if is_shadow:
            self._tell(events, values, work.now_ms, writer)
            seconds = time.thread_time() - start
            self._cap.spend(seconds)
            metrics.add("feedmill_shadow_posts_total", len(rows))
            metrics.add("feedmill_shadow_cpu_seconds_total", seconds)
            return scores
        metrics.add("feedmill_canary_posts_total", len(rows))
        merged, judged = scores.values.copy(), set(rows)
        merged[rows] = values
        return BatchScores(
            merged, {r: text for r, text in scores.errors.items() if r not in judged}
        )

    def _values(self, posts: PostBatch, rows: Sequence[int]) -> Scores:
        if not self.record.partitions and len(rows) < len(posts):
            posts, rows = PostBatch([posts.posts[row] for row in rows]), range(len(rows))
        return values_of_rows(self.model, posts, rows)

    def _drawn(self, events: list[LatestEvent]) -> list[LatestEvent]:
        """Return as many events as a call may have, by a hash of their keys, in their order."""
        most = min(_MOST_POSTS, max(1, int(_CALL_MS / max(self.ms_a_post, 1e-6))))
        if len(events) <= most:
            return events
        by_hash = sorted(range(len(events)), key=lambda n: zlib.crc32(events[n].record.key or b""))
        return [events[n] for n in sorted(by_hash[:most])]

    def _compare(
        self,
        events: Sequence[LatestEvent],
        scores: BatchScores,
        said: Mapping[int, float],
        gate: Gate,
    ) -> None:
        """Count what the gate does by both versions to posts that both judged."""
        own = scores.values.astype(np.float32)
        for partition, record, post, row in events:
            if row in scores.errors or not isinstance(post, Post):
                continue
            self._since.setdefault(partition, record.offset)
            if self.hour and not self.hour.take(partition, record, post, self._since):
                continue
            old, new = float(own[row]), said[row]
            hides = (new >= gate.hide_at) - (old >= gate.hide_at)
            stops = (new >= gate.stop_at) - (old >= gate.stop_at)
            one = ComparedPosts(1, max(hides, 0), max(-hides, 0), max(stops, 0), max(-stops, 0))
            self.compared[partition] = self.compared.get(partition, ComparedPosts()).plus(one)

    def _tell(
        self, events: Sequence[LatestEvent], values: Scores, now_ms: int, writer: Writer
    ) -> None:
        said = values.astype(np.float32).tolist()
        for (partition, record, post, _), value in zip(events, said, strict=True):
            signal = Signal(
                post.post_id, record.offset, value, self.model.name, self.model.version, now_ms
            )
            owner = TopicPartition("posts", partition)
            writer.add(SHADOW_TOPIC, record.key, encode(signal), owner=owner)
