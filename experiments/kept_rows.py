"""Exposures, engagements and values of quality as the rows that an export keeps.

Users and posts are keyed hashes of 64 bits, so that whoever has the rows but not the key cannot ask
for a user by name.  A time is that of the event, never later than that of its record.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from feedmill.events.engagement import ENGAGEMENT_KINDS, Engagement
from feedmill.events.errors import BadEvent
from feedmill.events.experiment import WHOLE, Experiment, Exposure
from feedmill.events.signal import Signal
from feedmill.experiments.assignment import arm_of

KINDS = {kind: number for number, kind in enumerate(ENGAGEMENT_KINDS)}
DAY_MS = 86_400_000
# Values of quality are kept in millionths: sums of integers do not depend on their order.
MILLIONTHS = 1_000_000

_NAME = pa.dictionary(pa.int32(), pa.string())
SCHEMAS: dict[str, Any] = {
    "exposures": pa.schema(
        [
            *(("user", pa.uint64()), ("experiment", _NAME), ("arm", _NAME)),
            *(("computed_arm", _NAME), ("feed", _NAME), ("version", pa.int64())),
            *(("first", pa.int32()), ("count", pa.int32()), ("at_ms", pa.int64())),
            *(("served", _NAME), ("client", _NAME)),
        ]
    ),
    "engagements": pa.schema(
        [
            *(("user", pa.uint64()), ("post", pa.uint64()), ("kind", pa.uint8()), ("feed", _NAME)),
            *(("at_ms", pa.int64()), ("stored_ms", pa.int64()), ("dwell_ms", pa.int32())),
            ("repeat", pa.uint64()),
        ]
    ),
    "quality": pa.schema(
        [
            *(("post", pa.uint64()), ("at_ms", pa.int64()), ("offset", pa.int64())),
            ("value", pa.int32()),
        ]
    ),
}


class KeyedHash:
    """Hashes of ids under a key, as unsigned integers of 64 bits."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        # Readers and posts come again and again.
        self.user = lru_cache(1 << 17)(self._of_user)
        self.post = lru_cache(1 << 17)(self._of_post)

    def _of_user(self, user_id: str) -> int:
        return self._hash(b"user", user_id)

    def _of_post(self, post_id: str) -> int:
        return self._hash(b"post", post_id)

    def repeat(self, event: Engagement, at_ms: int) -> int:
        """Return what tells events of a user and a post apart: the id, else kind and day."""
        if event.event_id is not None:
            return self._hash(b"event", event.event_id)
        return at_ms // DAY_MS * len(KINDS) + KINDS[event.kind]

    def _hash(self, person: bytes, text: str) -> int:
        digest = blake2b(text.encode(), digest_size=8, key=self._key, person=person).digest()
        return int.from_bytes(digest, "big")


class KeptRows:
    """Rows that are not written yet; `take` returns them as tables by name and forgets them."""

    def __init__(self, key: bytes) -> None:
        self._hash = KeyedHash(key)
        self._rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in SCHEMAS}

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def add_exposure(self, event: Exposure, experiment: Experiment | None, stored_ms: int) -> None:
        """Add an exposure of an experiment, whose arm is computed again here.

        That is the arm at full traffic: how far a ramp was matters to no user's arm.

        Raises
        ------
        BadEvent
            There is no such experiment, arm or feed.
        """
        if experiment is None:
            raise BadEvent(
                f"Expected an experiment that was started, got {event.experiment!r} - at"
                " `$.experiment`"
            )
        for name, known, path in (
            (event.arm, (*experiment.shares,), "$.arm"),
            (event.served or event.arm, (*experiment.shares,), "$.served"),
            (event.feed, experiment.feeds, "$.feed"),
        ):
            if name not in known:
                raise BadEvent(
                    f"Expected one of the experiment's ({', '.join(known)}), got {name[:80]!r} - at"
                    f" `{path}`"
                )
        shares = [*experiment.shares.items()]
        computed = arm_of(experiment.salt, event.experiment, event.user_id, WHOLE, shares)
        self._rows["exposures"].append(
            (
                *(self._hash.user(event.user_id), event.experiment, event.arm, computed),
                *(event.feed, event.version, event.first, event.count),
                *(min(event.at_ms, stored_ms), event.served, event.client),
            )
        )

    def add_engagement(self, event: Engagement, stored_ms: int) -> None:
        """Add an engagement."""
        at_ms = min(event.at_ms, stored_ms)
        self._rows["engagements"].append(
            (
                *(self._hash.user(event.user_id), self._hash.post(event.post_id)),
                *(KINDS[event.kind], event.feed, at_ms, stored_ms, int(event.dwell_ms or 0)),
                self._hash.repeat(event, at_ms),
            )
        )

    def add_quality(self, signal: Signal, stored_ms: int, offset: int) -> None:
        """Add a value of quality; one of a model that failed changes nothing."""
        if signal.value is not None:
            value = round(signal.value * MILLIONTHS)
            self._rows["quality"].append(
                (self._hash.post(signal.post_id), stored_ms, offset, value)
            )

    def take(self) -> dict[str, Any]:
        """Return the tables that have rows."""
        tables = {}
        for name, rows in self._rows.items():
            if rows:
                schema = SCHEMAS[name]
                columns = zip(*rows, strict=True)
                tables[name] = pa.table(
                    [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)],
                    schema=schema,
                )
        self._rows = {name: [] for name in SCHEMAS}
        return tables
