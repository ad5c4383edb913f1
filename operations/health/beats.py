"""What heartbeats tell one after another: who starts, who is in a rebalance, who was replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from feedmill.events.instance import Instance
from feedmill.operations.health.seen import Beat, KafkaState
from feedmill.streams.kafka.group import CATCHING_UP, WAITING

# A start or a rebalance that takes longer is a fault.  Heartbeats come every five seconds.
_SETTLES_WITHIN_MS, _LATE_MS = 60_000, 7_500


def next_beat(before: Beat | None, instance: Instance, at_ms: int) -> Beat:
    """Return the beat of a heartbeat that follows `before`, the last one of its key."""
    if before is None or before.instance.pid != instance.pid:
        return Beat(at_ms, instance, 0, at_ms, 0 if instance.ready else at_ms)
    since_ms, had = before.unsettled_ms, _owned(before.instance)
    if instance.reason.startswith((WAITING, CATCHING_UP)) or _owned(instance) != had:
        since_ms = since_ms or at_ms
    elif before.instance.ready and instance.ready:
        # The first one after a rebalance may lack partitions that it has got.
        since_ms = 0
    return Beat(at_ms, instance, 0, before.started_ms, since_ms)


def settling(kafka: KafkaState) -> Mapping[str, str]:
    """Return by instance who starts or is in a rebalance, for a minute at most: since when."""
    found = {}
    for beat in kafka.living:
        for_ms = kafka.now_ms - beat.unsettled_ms
        if beat.instance.group and for_ms <= _SETTLES_WITHIN_MS:
            doing = "starting" if beat.unsettled_ms == beat.started_ms else "rebalancing"
            found[beat.instance.instance] = f"{doing} for {for_ms / 1000:.0f} s"
    return found


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
