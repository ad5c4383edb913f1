"""The whole flow without Kafka and Redis: generated records in, what is to be recorded out."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from builders.contract_score import truth_of
from builders.golden_log import ONE_PARTITION, PARTITIONS, Round
from builders.golden_recording import Recording, summary
from builders.golden_records import generated
from builders.golden_stages import Brittle, EngagementFlow, FilterFlow, ModelFlow, Takes, Written
from builders.records import StoredRecord
from builders.redis_model import RedisModel
from feedmill.events.decode import (
    decode_engagement,
    decode_instance,
    decode_key,
    decode_label,
    decode_override,
    decode_post,
    decode_signal,
    encode,
)
from feedmill.events.errors import BadSetting
from feedmill.events.instance import Instance
from feedmill.events.partition import partition_of
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal, SignalNames
from feedmill.filters.registry import load as load_filter
from feedmill.models.text_model import TextModel
from feedmill.rankers.combiner import Combiner, FeedChange, SignalsChange
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.registry import load as load_ranker
from feedmill.streams.engagement.packed_states import encode_state
from feedmill.streams.engagement.partition_state import PartitionState
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.kafka.validation import validate_batch
from feedmill.streams.redis.explanation import explain
from feedmill.streams.redis.reader import FeedSnapshot, PostSnapshot

NAMES = SignalNames.parse("extreme:gate,novelty:objective")
SIGNALS = "signals."
# The last round in which the posts of the first ones are in every window.
ALL_THERE = "thirty hours"


def _decode_signal(name: str, key: bytes | None, value: bytes | None) -> Signal | str:
    return decode_signal(name, NAMES, key, value) if value else decode_key(key)


def _decode_instance(_: bytes | None, value: bytes | None) -> Instance:
    return decode_instance(value or b"")


DECODERS: dict[str, Callable[[bytes | None, bytes | None], Any]] = {
    "posts": decode_post,
    "engagements": decode_engagement,
    "overrides": partial(decode_override, NAMES),
    "labels": decode_label,
    "instances": _decode_instance,
    **{SIGNALS + name: partial(_decode_signal, name) for name in NAMES.all},
}


class ShownRedis(RedisModel):
    """The same model, with the infos of feeds as the texts that Redis has."""

    def _take_info(self, change: FeedChange) -> None:
        if change.whole:
            self.info[change.feed] = {
                "version": "1",
                "weights": encode(change.weights.as_dict()).decode(),
                "gates": encode(change.gates).decode(),
            }
        self.info[change.feed]["config_offset"] = str(change.config_offset)

    def feed_shown(self, feed: str) -> FeedSnapshot:
        return FeedSnapshot(feed, tuple(self.ranking(feed)), self.info[feed])

    def post_shown(self, post_id: str) -> PostSnapshot:
        return PostSnapshot(post_id, self.hashes[post_id])

    def value(self, post_id: str, name: str) -> float | None:
        """The value of a post's signal, short enough for a person to compare."""
        signal = self.post_shown(post_id).signal(name)
        return None if signal is None or signal.value is None else float(f"{signal.value:.4g}")


class Flow:
    """Every stage, one round after the other."""

    def __init__(self) -> None:
        self.recording = Recording()
        self.settings = Settings(NAMES)
        self.combiner = Combiner(NAMES, self.settings)
        self.redis = ShownRedis()
        spam, nsfw, misinformation = (load_filter(name) for name in NAMES.gates[:3])
        self.filters = [
            FilterFlow("spam", spam, NAMES, remembers=True),
            FilterFlow("nsfw", nsfw, NAMES, remembers=False),
            FilterFlow("misinformation", Brittle(misinformation), NAMES, remembers=False),
        ]
        self.quality = ModelFlow("quality", cast(TextModel, load_ranker("quality")))
        self.engagement = EngagementFlow(cast(ExpectedClicks, load_ranker("engagement")))
        self.counters: dict[int, list[StoredRecord]] = {p: [] for p in range(PARTITIONS)}

    def run(self) -> Recording:
        for round_ in generated():
            self._decode(round_)
            written = self._follow_config(round_)
            stages: list[Takes] = [*self.filters, self.quality, self.engagement]
            for stage in stages:
                written += stage.take(round_)
            self._record_written(round_.name, written)
            self._keep_counters(written)
            self._rank(round_, written)
            if round_.name == ALL_THERE:
                self._record_posts()
                self._record_explanations(round_.now_ms)
        self._record_end(round_)
        return self.recording

    def _decode(self, round_: Round) -> None:
        """What each topic's decoder makes of its records, and what it refuses."""
        for topic in round_.topics():
            if topic == "config":
                continue
            count = 1 if topic in ONE_PARTITION else PARTITIONS
            for number, (at, records) in enumerate(round_.batches(topic)):
                batch = RecordBatch(TopicPartition(topic, at), records)
                found = validate_batch(batch, count, DECODERS[topic])
                events = [encode((record.offset, event)) for record, event in found.events]
                line = f"{round_.name}: {topic}[{at}] {number}"
                said = {**summary(events, shown=1), "refused": len(found.rejected)}
                self.recording.add("decoded", line, said)
                for one in found.rejected:
                    where = f"{topic}[{at}] {one.record.offset}"
                    self.recording.refuse(where, one.reason)

    def _follow_config(self, round_: Round) -> list[Written]:
        written: list[Written] = []
        for _, records in round_.batches("config"):
            for record in records:
                try:
                    self.settings = self.settings.fold(record.key, record.value, record.offset)
                except BadSetting as error:
                    self.settings = self.settings.skip(record.offset)
                    self.recording.refuse(f"config {record.offset}", str(error))
                    continue
                for stage in self.filters:
                    written += stage.follow(self.settings, round_.now_ms)
        settings = self.settings
        self.recording.add(
            "settings",
            round_.name,
            {
                "offset": settings.offset,
                "offsets": dict(settings.offsets),
                "changed_at": dict(settings.change_offsets),
                "weights": settings.weights_of("mine").as_dict(),
                **summary([encode(settings.gates_of(feed)) for feed in ("", "mine", "x")], 1),
                "rules": {of: sorted(rules) for of, rules in settings.rules.items()},
            },
        )
        return written

    def _record_written(self, name: str, written: Sequence[Written]) -> None:
        for topic in dict.fromkeys(one.topic for one in written):
            raw = [one.key + b" " + (one.value or b"") for one in written if one.topic == topic]
            self.recording.add("written", f"{name}: {topic}", summary(raw, shown=2))
        for sign in (b'"reason":"copy', b'"reason":"capped', b'"error"', b'"rule"'):
            marked = [one for one in written if sign in (one.value or b"")]
            for i, one in enumerate(marked):
                if i % 16 == 0:
                    line = f"{name}: {one.topic} {one.key.decode()} {sign.decode()}"
                    self.recording.add("marked signals", line, (one.value or b"").decode())

    def _keep_counters(self, written: Sequence[Written]) -> None:
        for one in written:
            if one.topic == "counters":
                held = self.counters[partition_of(one.key, PARTITIONS)]
                held.append(StoredRecord(len(held), 0, one.key, one.value))

    def _rank(self, round_: Round, written: Sequence[Written]) -> None:
        """The combiner's stage: everything into its view, one tick, one cycle."""
        view, name = self.combiner.view, round_.name
        self.combiner.apply(self.settings)
        for at, records in round_.batches("posts"):
            batch = RecordBatch(TopicPartition("posts", at), records)
            for record, post in validate_batch(batch, PARTITIONS, decode_post).events:
                view.update_post(post, record.offset, record.timestamp)
        for at, records in round_.batches("overrides"):
            batch = RecordBatch(TopicPartition("overrides", at), records)
            for _, (key, override) in validate_batch(batch, 1, DECODERS["overrides"]).events:
                view.update_override(key, override)
        for topic in (SIGNALS + name for name in NAMES.all):
            own = [
                StoredRecord(i, 0, w.key, w.value)
                for i, w in enumerate(written)
                if w.topic == topic
            ]
            for partition in range(PARTITIONS):
                mine = [one for one in own if partition_of(one.key or b"", PARTITIONS) == partition]
                sent = round_.records.get((topic, partition), [])
                if mine or sent:
                    self._take_signals(topic, partition, [*mine, *sent])
        self._cycle(name, round_.now_ms)
        self.combiner.tick(round_.now_ms)
        self._cycle(f"{name}, ticked", round_.now_ms)
        said = self.combiner.decisions()
        self.recording.add("decisions", name, {**said, "feeds": sorted(self.combiner.feeds)})

    def _take_signals(self, topic: str, partition: int, records: Sequence[StoredRecord]) -> None:
        name, view = topic.removeprefix(SIGNALS), self.combiner.view
        batch = RecordBatch(TopicPartition(topic, partition), records)
        for _, signal in validate_batch(batch, PARTITIONS, DECODERS[topic]).events:
            if isinstance(signal, str):
                view.clear_signal(name, signal)
            else:
                view.update_signal(name, signal)

    def _cycle(self, name: str, now_ms: int) -> None:
        signals, feeds, removed = self.combiner.cycle(now_ms)
        self.redis.take(signals, feeds, removed)
        raw = [_signals_bytes(change) for change in sorted(signals, key=lambda c: c.post_id)]
        self.recording.add("signals changes", name, summary(raw, shown=1))
        for change in sorted(feeds, key=lambda change: change.feed):
            self.recording.add("feed changes", f"{name}: {change.feed}", _feed_said(change))

    def _record_posts(self) -> None:
        """Most posts with their values and who decided, and some with all their fields."""
        for i, (post_id, fields) in enumerate(sorted(self.redis.hashes.items())):
            if not post_id.startswith("loud") or i % 10 == 0:
                values = [self.redis.value(post_id, name) for name in NAMES.all]
                decided = [fields.get("decision", "show"), fields.get("decided_by", "")]
                self.recording.add("posts", post_id, [*values, *decided])
            if i % 60 == 0 or ("override" in fields and i % 3 == 0):
                expires = {"expires_at_ms": self.redis.expires[post_id]}
                self.recording.add("fields", post_id, {**_in_json(fields), **expires})
        for feed in sorted(self.redis.feeds):
            ranking = [[post_id, repr(score)] for post_id, score in self.redis.ranking(feed)]
            raw = [encode(one) for one in ranking]
            self.recording.add("feeds", feed, {**summary(raw, 0), "best": ranking[:40]})

    def _record_explanations(self, now_ms: int) -> None:
        """What `explain` makes of some posts in two feeds, the words left out."""
        for feed in ("global", "community:python"):
            shown = self.redis.feed_shown(feed)
            scores = dict(shown.ranking)
            absent = [post_id for post_id in sorted(self.redis.hashes) if post_id not in scores]
            for post_id in [*list(scores)[:5], *absent[::120]]:
                post = self.redis.post_shown(post_id)
                said = explain(post, shown, scores.get(post_id), "", now_ms).as_dict()
                del said["verdict"], said["override"]
                for gate in said["gates"]:
                    del gate["text"]
                self.recording.add("explanations", f"{feed}: {post_id}", said)

    def _record_end(self, last: Round) -> None:
        """Everything written anew, renewals, and counters as a new owner restores them."""
        self.combiner.rewrite_all()
        self._cycle("all anew", last.now_ms)
        renewals = sorted(change.feed for change in self.combiner.renewals(self.combiner.feeds))
        self.recording.add("feed changes", "renewals", renewals)
        for partition, records in self.counters.items():
            state = PartitionState()
            assert state.restore(records) == 0
            post_ids = sorted({(record.key or b"").decode() for record in records})
            raw = _encoded(state, post_ids)
            kept = _encoded(self.engagement.partitions[partition], post_ids)
            said = {**summary(raw, 3), "as kept": summary(kept, 0)}
            self.recording.add("counters restored", str(partition), said)


def _encoded(state: PartitionState, post_ids: Sequence[str]) -> list[bytes]:
    found = [state.find(post_id) for post_id in post_ids]
    assert len(state) == sum(one is not None for one in found)
    return [encode_state(one) for one in found if one is not None]


def _in_json(fields: Mapping[str, str]) -> dict[str, str]:
    """A post's fields with its signals as JSON."""
    found = truth_of(fields)
    return {
        name: encode(found[name]).decode() if name in NAMES.all else fields.get(name, found[name])
        for name in found
    }


def _signals_bytes(change: SignalsChange) -> bytes:
    fields = {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in sorted(change.fields.items())
    }
    return encode((change.post_id, change.expires_at_ms, change.whole, fields))


def _feed_said(change: FeedChange) -> dict[str, Any]:
    entries = [[post_id, repr(score)] for post_id, score in change.entries]
    rest = summary([encode(one) for one in entries], 0)
    removed = summary([post_id.encode() for post_id in change.removed], 0)
    policy = summary([encode(change.weights.as_dict()), encode(change.gates)], 0)
    return {
        **rest,
        "best": entries[:4],
        "whole": change.whole,
        "size": change.size,
        "config_offset": change.config_offset,
        "policy": policy["sha256"],
        "removed": [*change.removed[:3], removed["sha256"]] if change.removed else [],
    }
