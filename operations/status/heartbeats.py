"""What heartbeats tell one after another: who runs, starts, is in a rebalance, or was replaced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from feedmill.events.decode import decode_instance
from feedmill.events.errors import BadEvent
from feedmill.events.instance import Instance
from feedmill.streams.kafka.group import CATCHING_UP, WAITING
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.kafka.topic_table import HOUR_MS, MINUTE_MS
from feedmill.streams.ranking.feed_freshness import SEEN_WITHIN_MS

# A start or a rebalance that takes longer is a fault.  Heartbeats come every five seconds.
_SETTLES_WITHIN_MS, _LATE_MS = MINUTE_MS, 7_500


@dataclass(frozen=True)
class Beat:
    """The last heartbeat of an instance of a stage, which did not say that it stopped.

    Attributes
    ----------
    at_ms
        When the broker stored it.
    started_ms
        When the broker stored the first heartbeat of the process.
    unsettled_ms
        Since when it has been starting or in a rebalance; 0 once it is ready and has what it had.
    recent
        The heartbeats under this key of the last minute, this one included, each with its stamp.
    """

    at_ms: int
    instance: Instance
    started_ms: int = 0
    unsettled_ms: int = 0
    recent: tuple[tuple[int, Instance], ...] = ()

    @property
    def refused_writes(self) -> int:
        """How many writes Redis refused in the last minute."""
        own = [(at_ms, one) for at_ms, one in self.recent if one.pid == self.instance.pid]
        is_older = bool(own) and own[0][0] > self.started_ms
        return max(0, self.instance.refused_writes - is_older * own[0][1].refused_writes)


@dataclass(frozen=True)
class Running:
    """Who runs by the broker's time, by their last heartbeats of an hour at most."""

    now_ms: int
    beats: tuple[Beat, ...] = ()

    @property
    def living(self) -> tuple[Beat, ...]:
        """Those that count: feeds are not fresh by older ones."""
        return tuple(beat for beat in self.beats if self.now_ms - beat.at_ms <= SEEN_WITHIN_MS)

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instances of the heartbeats that count, one for each of their stages."""
        return tuple(beat.instance for beat in self.living)

    @property
    def silent(self) -> tuple[Beat, ...]:
        """The others."""
        return tuple(beat for beat in self.beats if self.now_ms - beat.at_ms > SEEN_WITHIN_MS)

    @property
    def has_workers(self) -> bool:
        """Whether a worker has reported, and did not say that it stopped."""
        return any(beat.instance.group for beat in self.beats)

    @property
    def log_now_ms(self) -> int:
        """The time as workers go by: they refuse a jump of the broker's clock."""
        newest = max(self.living, key=lambda beat: beat.at_ms, default=None)
        return self.now_ms if newest is None else newest.instance.at_ms + self.now_ms - newest.at_ms

    @property
    def settling(self) -> Mapping[str, str]:
        """By instance who starts or is in a rebalance, for a minute at most: since when."""
        found = {}
        for beat in self.living:
            for_ms = self.now_ms - beat.unsettled_ms
            if beat.instance.group and for_ms <= _SETTLES_WITHIN_MS:
                doing = "starting" if beat.unsettled_ms == beat.started_ms else "rebalancing"
                found[beat.instance.instance] = f"{doing} for {for_ms / 1000:.0f} s"
        return found


class Heartbeats:
    """Folds the records of `instances`."""

    def __init__(self) -> None:
        self._beats: dict[str, Beat] = {}

    def take(self, records: Iterable[TopicRecord]) -> None:
        """Fold what came since; a record that is no heartbeat is left out."""
        for record in records:
            name = (record.key or b"").decode("utf-8", "replace")
            try:
                instance = decode_instance(record.value) if record.value else None
            except BadEvent:
                continue
            if instance is None:
                self._beats.pop(name, None)
            else:
                self._beats[name] = next_beat(self._beats.get(name), instance, record.at_ms)

    def running(self, now_ms: int) -> Running:
        """Return who runs at a time of the broker's clock."""
        # After a step back of that clock the last ones before it are ahead.
        recent = (b for b in self._beats.values() if -MINUTE_MS <= now_ms - b.at_ms <= HOUR_MS)
        return Running(now_ms, without_replaced([*recent], now_ms))


def next_beat(before: Beat | None, instance: Instance, at_ms: int) -> Beat:
    """Return the beat of a heartbeat that follows `before`, the last one of its key."""
    earlier = () if before is None else before.recent
    recent = (*(one for one in earlier if one[0] > at_ms - MINUTE_MS), (at_ms, instance))
    if before is None or before.instance.pid != instance.pid:
        return Beat(at_ms, instance, at_ms, 0 if instance.ready else at_ms, recent)
    since_ms, had = before.unsettled_ms, _owned(before.instance)
    if instance.reason.startswith((WAITING, CATCHING_UP)) or _owned(instance) != had:
        since_ms = since_ms or at_ms
    elif before.instance.ready and instance.ready:
        # The first one after a rebalance may lack partitions that it has got.
        since_ms = 0
    return Beat(at_ms, instance, before.started_ms, since_ms, recent)


def without_replaced(beats: Sequence[Beat], now_ms: int) -> tuple[Beat, ...]:
    """Leave out the workers that ended without a word and were started again under another name.

    In the place of each a worker of its stage started on its host since, and was ready in time.
    """
    left, heirs = list(beats), sorted(beats, key=lambda beat: beat.started_ms)
    for beat in sorted(beats, key=lambda beat: beat.at_ms):
        for heir in heirs if beat.instance.group and now_ms - beat.at_ms > _LATE_MS else ():
            is_ready = heir.instance.ready or now_ms - heir.started_ms > _SETTLES_WITHIN_MS
            places = [(b.instance.host, b.instance.stage) for b in (beat, heir)]
            if is_ready and heir.started_ms > beat.at_ms and places[0] == places[1]:
                heirs.remove(heir)
                left.remove(beat)
                break
    return tuple(left)


def _owned(instance: Instance) -> tuple[object, ...]:
    return {(at.topic, at.partition) for at in instance.partitions}, {*instance.shards}
