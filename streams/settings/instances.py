"""Which instances run, by their heartbeats on `instances`, and how far each follows `config`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from feedmill.events.decode import decode_instance
from feedmill.events.errors import BadEvent
from feedmill.events.instance import MOST_REFUSALS, Instance, RefusedRelease, RefusedSetting
from feedmill.streams.kafka.topic_reader import TopicReader, TopicRecord

# An instance sends a heartbeat every 5 s; one that missed three counts as gone.
RECENT_MS = 15_000

State = Literal["applied", "refused", "silent"]


@dataclass(frozen=True)
class SettingAnswer:
    """What one instance did with a record of `config`.

    Attributes
    ----------
    instance
        ``<stage>/<instance>``.
    state
        "silent" if the instance did not answer in time.
    ms
        Milliseconds until the answer; None if silent.
    reason
        Why it refused the record, else None.
    """

    instance: str
    state: State
    ms: int | None = None
    reason: str | None = None


def recent_instances(records: Iterable[TopicRecord], at_ms: int) -> dict[str, Instance]:
    """The last heartbeat of each instance that runs at `at_ms`, by ``<stage>/<instance>``.

    An instance that stopped in order is left out, as is one whose last heartbeat is older than
    `RECENT_MS`.
    """
    instances: dict[str, Instance] = {}
    for record in records:
        name = _instance_name(record)
        heartbeat = _heartbeat(record)
        if heartbeat is None:
            instances.pop(name, None)
        elif record.at_ms >= at_ms - RECENT_MS:
            instances[name] = heartbeat
    return instances


def read_recent_instances(reader: TopicReader, at_ms: int) -> dict[str, Instance]:
    """The instances that run at `at_ms` of the log's time; leaves the reader at the end."""
    reader.seek_to_time(at_ms - RECENT_MS)
    return recent_instances(reader.read_to_end(), at_ms)


def setting_answers(
    reader: TopicReader, instances: Mapping[str, Instance], offset: int, timeout_s: float
) -> Iterator[SettingAnswer]:
    """Yield what each instance does with the record of `config` at `offset`, as answers arrive.

    `instances` is what `recent_instances` found; some may have answered already. Times count from
    this call. After `timeout_s` those that are left come as "silent", in the order of their names.
    """
    yield from _answers(reader, instances, partial(answer_in, offset=offset), timeout_s)


def release_answers(
    reader: TopicReader,
    instances: Mapping[str, Instance],
    model: str,
    offset: int,
    timeout_s: float,
) -> Iterator[SettingAnswer]:
    """Yield what each instance that runs a model does with the record of `models` at `offset`.

    The rest as of `setting_answers`.
    """
    those = {name: instance for name, instance in instances.items() if model in instance.models}
    yield from _answers(reader, those, partial(release_answer_in, offset=offset), timeout_s)


def _answers(
    reader: TopicReader,
    instances: Mapping[str, Instance],
    answer_of: Callable[[str, Instance, int], SettingAnswer | None],
    timeout_s: float,
) -> Iterator[SettingAnswer]:
    waiting = set(instances)
    start = time.monotonic()
    for name, known in instances.items():
        answer = answer_of(name, known, 0)
        if answer is not None:
            waiting.discard(name)
            yield answer
    while waiting and (left_s := start + timeout_s - time.monotonic()) > 0:
        records = reader.read(timeout_ms=min(200, max(1, int(left_s * 1000))))
        elapsed_ms = round((time.monotonic() - start) * 1000)
        for record in records:
            name = _instance_name(record)
            heartbeat = _heartbeat(record)
            if name not in waiting or heartbeat is None:
                continue
            answer = answer_of(name, heartbeat, elapsed_ms)
            if answer is not None:
                waiting.discard(name)
                yield answer
    for name in sorted(waiting):
        yield SettingAnswer(name, "silent")


def answer_in(name: str, heartbeat: Instance, ms: int, *, offset: int) -> SettingAnswer | None:
    """The answer about the setting at `offset`; None if the instance has not read it yet.

    Nor is there one where it refused so many since that the heartbeat does not tell.
    """
    refused = heartbeat.refused
    if len(refused) >= MOST_REFUSALS and offset < refused[0].offset:
        return None
    return _answer(name, ms, offset, heartbeat.config_offset, heartbeat.refused)


def release_answer_in(
    name: str, heartbeat: Instance, ms: int, *, offset: int
) -> SettingAnswer | None:
    """The answer about the release at `offset`; None while the instance has not dealt with it."""
    return _answer(name, ms, offset, heartbeat.models_offset, heartbeat.refused_releases)


def _answer(
    name: str,
    ms: int,
    offset: int,
    seen: int,
    refusals: Iterable[RefusedSetting | RefusedRelease],
) -> SettingAnswer | None:
    if seen < offset:
        return None
    for refusal in refusals:
        if refusal.offset == offset:
            return SettingAnswer(name, "refused", ms, refusal.reason)
    return SettingAnswer(name, "applied", ms)


def _instance_name(record: TopicRecord) -> str:
    return (record.key or b"").decode("utf-8", "replace")


def _heartbeat(record: TopicRecord) -> Instance | None:
    """None for the empty record of a stopped instance, and for one that cannot be decoded."""
    if not record.value:
        return None
    try:
        return decode_instance(record.value)
    except BadEvent:
        return None
