"""Who runs, by `instances`, and how far each has dealt with `config`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Literal

from feedmill.events.decode import decode_instance
from feedmill.events.errors import BadEvent
from feedmill.events.instance import Instance
from feedmill.streams.kafka.topic_reader import TopicReader, TopicRecord

SEEN_WITHIN_MS = 15_000

State = Literal["applied", "refused", "silent"]


@dataclass(frozen=True)
class SettingAnswer:
    """How one instance dealt with a record of `config`, and how long it took."""

    instance: str
    state: State
    ms: int | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, object]:
        return {
            "instance": self.instance,
            "state": self.state,
            "ms": self.ms,
            "reason": self.reason,
        }


def living(records: Iterable[TopicRecord], now_ms: int) -> dict[str, Instance]:
    """The last heartbeat of each instance seen in the last 15 s, by ``<stage>/<instance>``."""
    seen: dict[str, Instance] = {}
    for record in records:
        name = (record.key or b"").decode("utf-8", "replace")
        heartbeat = _heartbeat(record)
        if heartbeat is None:
            seen.pop(name, None)
        elif record.at_ms >= now_ms - SEEN_WITHIN_MS:
            seen[name] = heartbeat
    return seen


def answer_of(name: str, heartbeat: Instance, offset: int, ms: int) -> SettingAnswer | None:
    """What a heartbeat says of the record at `offset`; None: it has not come that far."""
    if heartbeat.config_offset < offset:
        return None
    for refusal in heartbeat.refused:
        if refusal.offset == offset:
            return SettingAnswer(name, "refused", ms, refusal.reason)
    return SettingAnswer(name, "applied", ms)


async def living_now(reader: TopicReader) -> dict[str, Instance]:
    """Who runs; leaves the reader at the end of `instances`."""
    now_ms = int(time.time() * 1000)
    await reader.from_time(now_ms - SEEN_WITHIN_MS)
    return living(await reader.to_end(), now_ms)


async def answers(
    reader: TopicReader, asked: Iterable[str], offset: int, timeout_s: float
) -> AsyncIterator[SettingAnswer]:
    """Yield how each of these instances deals with the record at `offset`, as they say it.

    The clock starts with this call.  Who has said nothing after `timeout_s` is `silent`.
    """
    waiting = set(asked)
    start = time.monotonic()
    while waiting and (left := start + timeout_s - time.monotonic()) > 0:
        records = await reader.some(timeout_ms=min(200, max(1, int(left * 1000))))
        ms = round((time.monotonic() - start) * 1000)
        for record in records:
            name = (record.key or b"").decode("utf-8", "replace")
            heartbeat = _heartbeat(record)
            if name not in waiting or heartbeat is None:
                continue
            answer = answer_of(name, heartbeat, offset, ms)
            if answer is not None:
                waiting.discard(name)
                yield answer
    for name in sorted(waiting):
        yield SettingAnswer(name, "silent")


def _heartbeat(record: TopicRecord) -> Instance | None:
    if not record.value:
        return None
    try:
        return decode_instance(record.value)
    except BadEvent:
        return None
