"""A worker of one filter in memory, with `models` and `posts`, that can be killed."""

import itertools
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from builders.events import NOW_MS
from builders.fake_log import FakeLog, KeptWriter, Topics
from builders.records import StoredRecord, record
from builders.waiting import until
from feedmill.events.decode import decode_signal
from feedmill.events.errors import BadArtifact, StoreAway
from feedmill.events.instance import Instance
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.events.release import Candidate, ModelRelease
from feedmill.events.signal import Signal, SignalNames
from feedmill.features.post_batch import PostBatch
from feedmill.models.text_model import Scores, TextModel
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.kafka.connection import RecordSender
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.releases import model_releases, release_log
from feedmill.streams.releases.candidates import TriedModel
from feedmill.streams.releases.model_releases import ModelReleases
from feedmill.streams.releases.release_log import Released
from feedmill.streams.scoring import text_models
from feedmill.streams.scoring.text_models import TextModelStep
from feedmill.streams.settings.clock import LogClock
from feedmill.streams.worker.decoding import decode_work
from feedmill.streams.worker.step import StepContext

MODELS = TopicPartition("models", 0)
INSTALLED, A, B = "installed", "a" * 64, "b" * 64
COUNT = 2


class Model:
    """Says 0.5 of every post; another version raises, says NaN, or 0.95 where a post says so."""

    name = "spam"

    def __init__(self, version: str) -> None:
        self.version = version

    def score_many(self, posts: Sequence[Post]) -> Scores:
        return self.score_batch(PostBatch(posts))

    def score_batch(self, batch: PostBatch) -> Scores:
        texts = [post.text for post in batch.posts]
        if self.version != INSTALLED and "raise" in texts:
            raise ZeroDivisionError("no")
        wrong = self.version != INSTALLED
        said = {"nan": np.nan, "spam": 0.95}
        return np.array([said.get(text, 0.5) if wrong else 0.5 for text in texts])


class Cluster:
    """`models`, `posts` and what is committed; outlives its workers."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.topics: Topics = {MODELS: []}
        self.unloadable: set[str] = set()
        # Whether the store answers no worker, and how often one asked it.
        self.away = False
        self.tries = 0
        self.signals: list[Signal] = []
        self.partition_of: dict[str, int] = {}
        self.notes: dict[int, dict[str, str]] = {p: {} for p in range(COUNT)}
        self.committed = dict.fromkeys(range(COUNT), 0)
        for p in range(COUNT):
            self.topics[TopicPartition("posts", p)] = []
            self.topics[TopicPartition("signals.spam", p)] = []
        patch.setattr(release_log, "LogConsumer", lambda *_, **__: FakeLog(self.topics))
        patch.setattr(text_models, "LogConsumer", lambda *_, **__: FakeLog(self.topics))
        patch.setattr(
            model_releases, "load_candidate", lambda *given: self.load_candidate(given[-1])
        )
        patch.setattr(model_releases, "load_released", self._load_released)
        patch.setattr(model_releases, "_READ_EVERY_S", 0.0)
        patch.setattr(RecordSender, "send", lambda _, key, value: self.write(key, value))

    def write(self, key: bytes, value: bytes) -> int:
        """Append a record of `models`; return its offset."""
        records = self.topics[MODELS]
        records.append(StoredRecord(len(records), 0, key, value))
        return len(records) - 1

    def release(self, sha256: str | None, **more: Any) -> int:
        value = {"sha256": sha256, "answers": [0.5], **more}
        return self.write(b"spam", json.dumps(value).encode() if sha256 else b"")

    def canary(self, sha256: str, partitions: int = 1, **more: Any) -> int:
        value = {"partitions": partitions, "promotes": True, "until_ms": 2**50, "sha256": sha256}
        return self.write(
            b"candidate/spam", json.dumps({**value, "answers": [0.5], **more}).encode()
        )

    def say(self, partition: int, text: str = "tea") -> str:
        """Append a post; return its id."""
        source = TopicPartition("posts", partition)
        records = self.topics[source]
        ids = (f"{partition}-{len(records)}-{n}" for n in itertools.count())
        post_id = next(one for one in ids if partition_of(one.encode(), COUNT) == partition)
        post = Post(post_id, "ann", NOW_MS, text)
        records.append(record(post_id, post, offset=len(records), timestamp=NOW_MS))
        self.partition_of[post_id] = partition
        return post_id

    def judged(self) -> dict[str, str]:
        """By post the version of its committed signal."""
        return {one.post_id: one.version for one in self.signals}

    def note(self, partition: int) -> str:
        return self.notes[partition].get("model.spam", "")

    def check(self) -> None:
        """Each post has one signal, by the version that its partition's note names from there."""
        posts = [one.post_id for one in self.signals]
        assert len(posts) == len(set(posts))
        for one in self.signals:
            note = self.note(self.partition_of[one.post_id])
            if note and one.post_offset >= int(note.split()[1]):
                assert one.version == note.split()[0], (one, note)

    def load_candidate(self, *given: Any) -> TriedModel:
        candidate: Candidate = given[-1]
        if candidate.sha256 in self.unloadable:
            raise BadArtifact("it is not in the store")
        return TriedModel(cast(TextModel, Model(candidate.version)), 0.01)

    def _load_released(self, _: str, __: Any, current: str, version: Released[ModelRelease]) -> Any:
        self.tries += 1
        if self.away:
            raise StoreAway("the server is not reachable")
        name = version.release.version if version.release else INSTALLED
        return None if name == current else Model(name)


class CanaryWorker:
    """A worker whose cycles a test runs; what it wrote is committed when the test says so."""

    def __init__(
        self, cluster: Cluster, owned: Sequence[int] = range(COUNT), *, starts: bool = True
    ) -> None:
        """Start it; unless `starts`, do not wait until it has what is released."""
        self.cluster = cluster
        self.writer = KeptWriter()
        self.metrics = Metrics("spam", "one")
        self._positions = dict.fromkeys(owned, 0)
        self.step = TextModelStep("spam", lambda: cast(TextModel, Model(INSTALLED)))
        connection: Any = SimpleNamespace(environment=Environment(rescore_rate=0))
        stage = self.metrics.of_stage
        self.step.start(StepContext(connection, LogClock(), stage("spam"), COUNT))
        self.releases = ModelReleases(connection, None, [self.step])
        self.assign(owned)
        if starts:
            until(self.settled, every=0.001)

    def assign(self, owned: Sequence[int]) -> None:
        """Have these partitions, and no others; what was not committed is lost."""
        before = set(self._positions)
        self.writer = KeptWriter()
        self._positions = {p: self.cluster.committed[p] for p in owned}
        starts = {TopicPartition("posts", p): at for p, at in self._positions.items()}
        notes = {at: dict(self.cluster.notes[at.partition]) for at in starts}
        lost = tuple(sorted(before))
        change = AssignmentChange(1, tuple(owned), lost, starts=starts, notes=notes)
        self.releases.assigned(change)
        self.step.on_assigned(change)

    def settled(self) -> bool:
        self.releases.follow()
        last = len(self.cluster.topics[MODELS]) - 1
        return self.releases.is_settled() and self.releases.offset("spam") == last

    def positions(self) -> dict[TopicPartition, int]:
        return {TopicPartition("posts", p): at for p, at in self._positions.items()}

    def cycle(self, *, most: int = 100) -> None:
        """Follow `models` until nothing is loaded, and judge what came."""
        until(self.settled, every=0.001)
        self.releases.note(self.positions, self.writer)
        batches = []
        for p, at in self._positions.items():
            source = TopicPartition("posts", p)
            records = self.cluster.topics[source][at : at + most]
            if records:
                batches.append(RecordBatch(source, cast(Any, records)))
                self._positions[p] = at + len(records)
        work = decode_work(batches, [], partitions=COUNT, now_ms=7)
        self.step.apply(work, self.writer)
        self.releases.judged(work, self.writer)

    def commit(self) -> None:
        """Commit signals, notes and positions, as one transaction does."""
        for _, key, value, _ in self.writer.added:
            assert value is not None
            self.cluster.signals.append(decode_signal("spam", SignalNames(), key, value))
        for (at, name), text in self.writer.notes.items():
            self.cluster.notes[at.partition][name] = text
        self.cluster.committed |= self._positions
        self.writer.added.clear()
        self.writer.notes.clear()

    def beat(self, at_ms: int, **more: Any) -> None:
        """Take its own heartbeat, stamped by the broker."""
        self.releases.heartbeat(self.instance(**more), at_ms)

    def instance(self, **more: Any) -> Instance:
        fields: dict[str, Any] = {
            **{"stage": "spam", "instance": "1", "host": "h", "pid": 1, "build": "b"},
            **{"config_offset": -1, "refused": (), "models": self.step.models, "ready": True},
            **{"lag": 0, "at_ms": 0, "refused_releases": self.releases.refused},
            "candidates": self.releases.candidates.heartbeat("spam"),
        }
        return Instance(**{**fields, **more})
