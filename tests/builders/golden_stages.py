"""The stages' own steps without Kafka: records in, the bytes of their topics out.

What `streams` wraps around the same calls (groups, offsets, letters) is left out; the order of
the calls is that of the stages.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from builders.golden_log import PARTITIONS, Round
from builders.records import StoredRecord
from feedmill.events.decode import decode_engagement, decode_post, decode_signal, encode
from feedmill.events.post import Deletion, Post
from feedmill.events.settings import Settings
from feedmill.events.signal import RULE_MODEL, RuleVerdict, Signal, SignalNames
from feedmill.features.near_copies import CopyCounts, PostHistory, PostRecord
from feedmill.features.post_batch import PostBatch
from feedmill.filters.hide_rate_guard import (
    HideLimit,
    HideRates,
    JudgedPosts,
    hide_limit,
    sources_of_all,
)
from feedmill.filters.lists import FilterRules
from feedmill.filters.raised_values import campaign_probabilities, campaign_reason
from feedmill.filters.rules import RuleMatch
from feedmill.models.text_model import TextModel
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.streams.engagement.packed_states import NO_OFFSET, PostState, encode_state
from feedmill.streams.engagement.partition_state import PartitionState
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.validation import last_of_each, validate_batch
from feedmill.streams.scoring.batch_scores import BatchScores, score_posts

FLAGGED_CAP = 0.10
_NEVER = 2.0
_NOTHING = CopyCounts()


class Written(NamedTuple):
    """A record that a stage writes."""

    topic: str
    key: bytes
    value: bytes | None


class Taken(NamedTuple):
    """A batch of posts, what it says, and at which rows its posts stand among all."""

    partition: int
    events: list[tuple[Record, Post | Deletion]]
    rows: range


class Takes(Protocol):
    """A stage: the records of a round in, what it writes out."""

    def take(self, round_: Round) -> list[Written]: ...


class Brittle:
    """A model that breaks on posts that say so."""

    def __init__(self, model: TextModel) -> None:
        self._model = model
        self.name, self.version = model.name, model.version

    def score_many(self, posts: Sequence[Post]) -> np.ndarray:
        return self.score_batch(PostBatch(posts))

    def score_batch(self, batch: PostBatch) -> np.ndarray:
        if any(post.text.startswith("RAISES") for post in batch.posts):
            raise ValueError("this model cannot read that")
        values = self._model.score_batch(batch)
        nan = [post.text.startswith("RETURNS-NAN") for post in batch.posts]
        return np.where(nan, np.nan, values)


def take_posts(round_: Round) -> tuple[list[Taken], list[tuple[Record, Post]]]:
    taken: list[Taken] = []
    posts: list[tuple[Record, Post]] = []
    for partition, records in round_.batches("posts"):
        batch = RecordBatch(TopicPartition("posts", partition), records)
        events = validate_batch(batch, PARTITIONS, decode_post).events
        first = len(posts)
        posts += [(record, event) for record, event in events if isinstance(event, Post)]
        taken.append(Taken(partition, events, range(first, len(posts))))
    return taken, posts


class ModelFlow:
    """The stage of a model over texts, as it is for quality."""

    def __init__(self, name: str, model: TextModel) -> None:
        self.name = name
        self._model = model

    def follow(self, settings: Settings, now_ms: int) -> list[Written]:
        """Take settings over; what that has to be written anew."""
        return []

    def take(self, round_: Round) -> list[Written]:
        taken, posts = take_posts(round_)
        read = PostBatch([post for _, post in posts])
        said = score_posts(self._model, read)
        self.decide(taken, posts, read, said)
        written = []
        for one in taken:
            rows = {posts[i][0].offset: i for i in one.rows}
            for record, event in last_of_each(one.events):
                value = None
                if isinstance(event, Post):
                    signal = self._signal(rows[record.offset], record, event, said, round_.now_ms)
                    value = encode(signal)
                written.append(Written(f"signals.{self.name}", event.post_id.encode(), value))
        return written

    def decide(
        self,
        taken: Sequence[Taken],
        posts: Sequence[tuple[Record, Post]],
        read: PostBatch,
        said: BatchScores,
    ) -> None:
        """Let others than the model have their say."""

    def _signal(
        self, row: int, record: Record, post: Post, said: BatchScores, at_ms: int
    ) -> Signal:
        model, version = self._model.name, self._model.version
        return next(said.signals([(row, post.post_id, record.offset, version)], at_ms, model))


class FilterFlow(ModelFlow):
    """A filter's stage: cap, campaign where it remembers, rules, and judging again by new ones."""

    def __init__(self, name: str, model: TextModel, names: SignalNames, *, remembers: bool) -> None:
        super().__init__(name, model)
        self._names = names
        self._rules = FilterRules(name)
        self._history = PostHistory() if remembers else None
        self._ceiling: HideLimit | None = None
        self._shares = {p: HideRates(_NEVER, FLAGGED_CAP) for p in range(PARTITIONS)}
        self._judged: dict[str, tuple[int, Post, bytes]] = {}

    def follow(self, settings: Settings, now_ms: int) -> list[Written]:
        changed = self._rules.set_settings(settings)
        self._ceiling = hide_limit(settings, self.name)
        for shares in self._shares.values():
            shares.set_flagged_at(_NEVER if self._ceiling is None else self._ceiling.hide_at)
        return self._judge_again(now_ms) if changed else []

    def take(self, round_: Round) -> list[Written]:
        written = super().take(round_)
        of = {(r.key, r.offset): (r.timestamp, post) for r, post in take_posts(round_)[1]}
        for topic, key, value in written:
            self._judged.pop(key.decode(), None)
            if value is not None:
                signal = decode_signal(self.name, self._names, key, value)
                at_ms, post = of[key, signal.post_offset]
                self._judged[signal.post_id] = (at_ms, post, value)
            assert topic == f"signals.{self.name}"
        return written

    def decide(
        self,
        taken: Sequence[Taken],
        posts: Sequence[tuple[Record, Post]],
        read: PostBatch,
        said: BatchScores,
    ) -> None:
        pasts = self._pasts(taken, read)
        for one in taken:
            self._cap(one, posts, said)
            if self._history is not None:
                own = [pasts.get((one.partition, posts[i][0].offset), _NOTHING) for i in one.rows]
                reasons = [campaign_reason(past) for past in own]
                said.raise_to(one.rows, campaign_probabilities(own), reasons.__getitem__)
            judged = [posts[i] for i in one.rows]
            texts, times = [post for _, post in judged], [r.timestamp for r, _ in judged]
            for i, hit in zip(one.rows, self._rules.verdicts(texts, times), strict=True):
                if hit is not None:
                    said.rules[i] = self._ruling(hit)

    def _cap(self, one: Taken, posts: Sequence[tuple[Record, Post]], said: BatchScores) -> None:
        known = [i for i in one.rows if i not in said.errors]
        records = [posts[i][0] for i in known]
        judged = JudgedPosts(
            [record.offset for record in records],
            [record.timestamp for record in records],
            [len(record.value or b"") for record in records],
            said.values[known].tolist(),
            sources_of_all(PostBatch([posts[i][1] for i in known])),
            range(len(known)),
        )
        at = self._ceiling or HideLimit(_NEVER, _NEVER)
        lowered = {
            known[over.row]: (at.lowered, f"capped: {over.source} has {over.rate:.0%} flagged")
            for over in self._shares[one.partition].fold(judged)
            if over.is_spared and said.values[known[over.row]] >= at.hide_at
        }
        said.lower(lowered)

    def _pasts(self, taken: Sequence[Taken], read: PostBatch) -> dict[tuple[int, int], CopyCounts]:
        """What came before each post, all partitions folded in the order of time."""
        if self._history is None:
            return {}
        found = []
        for one in taken:
            rows = iter(one.rows)
            for record, event in one.events:
                if isinstance(event, Post):
                    said = PostRecord(record.timestamp, event.post_id, event.author_id, event.text)
                    found.append((record.timestamp, one.partition, record.offset, next(rows), said))
                else:
                    gone = PostRecord(record.timestamp, event.post_id, "", None)
                    found.append((record.timestamp, one.partition, record.offset, -1, gone))
        found.sort(key=lambda each: each[:3])
        pasts = self._history.fold([v for *_, v in found], [row for *_, row, _ in found], read)
        return {(p, offset): past for (_, p, offset, *_), past in zip(found, pasts, strict=True)}

    def _ruling(self, hit: RuleMatch) -> RuleVerdict:
        return RuleVerdict(hit.rule, self._rules.value_of(hit))

    def _judge_again(self, now_ms: int) -> list[Written]:
        written = []
        for post_id, (at_ms, post, value) in self._judged.items():
            key = post_id.encode()
            before = decode_signal(self.name, self._names, key, value)
            [hit] = self._rules.verdicts([post], [at_ms])
            if hit is None and before.model != RULE_MODEL:
                continue
            if hit is None:
                signal = before.without_rule(now_ms)
            else:
                signal = before.with_rule(self._ruling(hit), now_ms)
            self._judged[post_id] = (at_ms, post, encode(signal))
            written.append(Written(f"signals.{self.name}", key, encode(signal)))
        return written


class EngagementFlow:
    """The engagement stage: signals first, then counters."""

    name = "engagement"

    def __init__(self, model: ExpectedClicks) -> None:
        self._model = model
        self.partitions = {p: PartitionState() for p in range(PARTITIONS)}

    def take(self, round_: Round) -> list[Written]:
        touched: dict[str, PostState] = {}
        deleted: dict[str, None] = {}
        for one in take_posts(round_)[0]:
            self._take_posts(one, touched, deleted)
        for partition, records in round_.batches("engagements"):
            self._take_engagements(partition, records, touched)
        known = [one for one in touched.values() if one.post_offset != NO_OFFSET]
        written = [Written("signals.engagement", p.encode(), None) for p in deleted]
        written += [
            Written("signals.engagement", signal.post_id.encode(), encode(signal))
            for signal in self._signals(known, round_.now_ms)
        ]
        written += [Written("counters", p.encode(), None) for p in deleted]
        written += [Written("counters", p.encode(), encode_state(s)) for p, s in touched.items()]
        for state in self.partitions.values():
            assert state.pack() == []
        return written

    def _take_posts(
        self, one: Taken, touched: dict[str, PostState], deleted: dict[str, None]
    ) -> None:
        state = self.partitions[one.partition]
        fresh: dict[str, tuple[Record, Post]] = {}
        for record, event in one.events:
            if isinstance(event, Deletion):
                fresh.pop(event.post_id, None)
                touched.pop(event.post_id, None)
                state.remove(event.post_id)
                deleted[event.post_id] = None
            else:
                fresh[event.post_id] = (record, event)
        priors = self._model.prior_many([post for _, post in fresh.values()])
        for (record, post), prior in zip(fresh.values(), priors.tolist(), strict=True):
            state.put_post(post.post_id, record.offset, prior, record.timestamp)
            touched[post.post_id] = state.changed[post.post_id]
            deleted.pop(post.post_id, None)

    def _take_engagements(
        self, partition: int, records: Sequence[StoredRecord], touched: dict[str, PostState]
    ) -> None:
        batch = RecordBatch(TopicPartition("engagements", partition), records)
        events = validate_batch(batch, PARTITIONS, decode_engagement).events
        state = self.partitions[partition]
        for (_, event), reason in zip(events, state.count(events), strict=True):
            if not reason:
                touched[event.post_id] = state.changed[event.post_id]

    def _signals(self, known: Sequence[PostState], at_ms: int) -> list[Signal]:
        priors = np.array([one.prior for one in known])
        values = self._model.score_many(priors, [one.counters for one in known])
        name, version = self._model.name, self._model.version
        return [
            Signal(one.post_id, one.post_offset, float(np.float32(value)), name, version, at_ms)
            for one, value in zip(known, values, strict=True)
        ]
