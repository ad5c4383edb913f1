"""Overrides of moderators: those in force, and the records that write or withdraw one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from feedmill.events.decode import decode_override, encode
from feedmill.events.errors import BadEvent
from feedmill.events.override import Override, OverrideKey, OverrideVerdict, Withdrawal
from feedmill.events.signal import SignalNames
from feedmill.operations.changes import Change, MadeBy
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.redis.reader import open_feed_reader

_POLL_S = 0.02


class LastOverride(NamedTuple):
    """The last override of a subject and a gate, its record's value, and where that stands."""

    override: Override
    value: bytes
    offset: int

    def is_over(self, at_ms: int) -> bool:
        """Whether it has expired by this time."""
        return _is_over(self.override, at_ms)


class OverrideRow(NamedTuple):
    """An override as lists show it."""

    subject: str
    gate: str
    verdict: OverrideVerdict
    post_offset: int | None
    by: str
    reason: str
    at_ms: int
    expires_at_ms: int | None
    is_over: bool


def override_key(names: SignalNames, subject: str, gate: str = "*") -> OverrideKey:
    """Return the key of a record, checked as every reader of the topic checks it.

    Raises `BadEvent` where it is the key of no override.
    """
    return decode_override(names, f"{subject}|{gate}".encode(), None)[0]


def last_overrides(
    records: Iterable[TopicRecord],
    names: SignalNames,
    so_far: Mapping[OverrideKey, LastOverride] = {},
) -> dict[OverrideKey, LastOverride]:
    """Return the last override of each subject and gate, unless withdrawn, the oldest first.

    `so_far` are those of earlier records.  Records that break the contract are passed over, as the
    combiner does.
    """
    last = dict(so_far)
    for record in records:
        try:
            key, override = decode_override(names, record.key, record.value)
        except BadEvent:
            continue
        last.pop(key, None)
        if override is not None:
            last[key] = LastOverride(override, record.value or b"", record.offset)
    return last


def override_rows(
    last: Mapping[OverrideKey, LastOverride],
    at_ms: int,
    *,
    subject: str | None = None,
    by: str | None = None,
    with_expired: bool = False,
) -> list[OverrideRow]:
    """Return overrides: those that expire first come first, those without an end last."""
    found = [
        (key, one.override)
        for key, one in last.items()
        if subject in (None, key.subject)
        and by in (None, one.override.by)
        and (with_expired or not one.is_over(at_ms))
    ]
    found.sort(key=lambda one: (one[1].expires_at_ms or 1 << 62, one[1].at_ms, str(one[0])))
    return [
        OverrideRow(
            key.subject,
            key.gate,
            override.verdict,
            override.post_offset,
            override.by,
            override.reason,
            override.at_ms,
            override.expires_at_ms,
            _is_over(override, at_ms),
        )
        for key, override in found
    ]


def verdict_record(
    names: SignalNames, key: OverrideKey, override: Override, before: bytes | None
) -> Change:
    """Return the record of an override; raises `BadEvent` where the contract refuses it."""
    value = encode(override)
    decode_override(names, str(key).encode(), value)
    return Change("overrides", str(key), value, before)


def withdrawal_record(key: OverrideKey, made_by: MadeBy, before: bytes | None) -> Change:
    """Return the record that withdraws an override."""
    return Change("overrides", str(key), encode(Withdrawal(None, made_by.by, made_by.note)), before)


def visible_after_ms(
    environment: Environment,
    key: OverrideKey,
    timeout_s: float,
    is_done: Callable[[Sequence[Any]], bool],
) -> float | None:
    """Wait until the overrides that Redis shows of a post are as wanted; return how long it took.

    None: they are not after `timeout_s`; or of an author, who has none there.
    """
    if key.kind != "post" or not timeout_s:
        return None
    start, reader = time.monotonic(), open_feed_reader(environment.redis, environment.redis_prefix)
    while (waited_s := time.monotonic() - start) < timeout_s:
        # A post has the field alone, or one override with `others` beside it.
        field = reader.post(key.id).override
        if is_done([field, *field.get("others", ())] if field else []):
            return (time.monotonic() - start) * 1000
        time.sleep(min(_POLL_S, timeout_s - waited_s))
    return None


def _is_over(override: Override, at_ms: int) -> bool:
    return override.expires_at_ms is not None and override.expires_at_ms <= at_ms
