"""What a cycle works on: posts, and as many engagements as there is room for beside them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from feedmill.streams.kafka.batches import RecordBatch
from feedmill.streams.kafka.group import GroupConsumer
from feedmill.streams.kafka.transactions import TransactionalWriter

# The loop waits for less where a restore or a step waits for something that is not input.
SOON_S = 0.003
# A client waits for one consumer's records, those of the topic that brought some last.  In between
# the loop looks for others and for settings: often for a while after engagements came.
LOOK_S = 0.005
LOOK_OFTEN_S = 0.001
OFTEN_FOR_S = 0.1
_SERVE_GROUP_EVERY_S = 1.0


class Taken(NamedTuple):
    """Batches of `posts` and of `engagements`."""

    posts: list[RecordBatch]
    engagements: list[RecordBatch]


class Input:
    """Takes at most `batch_records` a cycle; `has_new_settings` looks for what ends a wait."""

    def __init__(
        self,
        group: GroupConsumer,
        writer: TransactionalWriter,
        batch_records: int,
        has_new_settings: Callable[[], bool],
    ) -> None:
        self._group, self._writer = group, writer
        self._batch_records = batch_records
        self._has_new_settings = has_new_settings
        self._served_at = self._often_until = 0.0
        self._waits_beside = False

    def take(self, wait_s: float) -> Taken:
        """Take what there is; wait for some, or for settings."""
        start = time.monotonic()
        is_often = start < self._often_until
        look_s = min(wait_s, LOOK_OFTEN_S if is_often else LOOK_S)
        beside_s = look_s if is_often and self._waits_beside else 0.0
        while True:
            posts = self._take_posts(look_s - beside_s)
            engagements = self._take_engagements(posts, 0.0 if posts else beside_s)
            now = time.monotonic()
            if posts or engagements:
                self._waits_beside = not posts
            if engagements:
                self._often_until = now + OFTEN_FOR_S
            has_new_settings = self._has_new_settings()
            if posts or engagements or has_new_settings or now >= start + wait_s:
                return Taken(posts, engagements)

    def _take_posts(self, wait_s: float) -> list[RecordBatch]:
        now, is_full = time.monotonic(), self._writer.is_full
        if is_full and now - self._served_at <= _SERVE_GROUP_EVERY_S:
            time.sleep(SOON_S)
            return []
        self._served_at = now
        # The group must be served also while Kafka takes no more.
        return self._group.poll(1 if is_full else self._batch_records, wait_s)

    def _take_engagements(self, posts: list[RecordBatch], wait_s: float) -> list[RecordBatch]:
        if self._writer.is_full:
            return []
        room = engagement_room(self._batch_records, sum(len(batch.records) for batch in posts))
        return self._group.poll_beside(room, wait_s)


def engagement_room(batch_records: int, posts: int) -> int:
    """Return how many engagements a cycle may take beside so many posts.

    Posts come first where there is more than can be done.  A part is left to engagements, which
    cost little beside posts, so that a flood of posts does not keep every count where it is.
    """
    return max(batch_records - posts, batch_records // 4, 1)
