"""What posts say, read by partition and offset into a bounded cache by one open consumer."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from feedmill.console.routes import Console
from feedmill.events.decode import decode_post
from feedmill.events.errors import BadEvent
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.streams.kafka.client import (
    ClientHealth,
    WatchedConsumer,
    client_settings,
    new_log_consumer,
)

_MOST_CHARACTERS = 16 * 1024 * 1024
# A post that Kafka does not give within so long is asked for again by the next page.
_READ_S = 3.0
_POLL_S = 0.02
_AT_ONCE = 64


class Place(NamedTuple):
    """Where the version of a post stands in `posts`."""

    partition: int
    offset: int


class Texts:
    """Posts by their places.  Any thread may ask; a thread of its own reads."""

    def __init__(self, console: Console) -> None:
        self._environment = console.environment
        self._health = ClientHealth()
        self._known: OrderedDict[Place, Post | None] = OrderedDict()
        self._characters = 0
        self._wanted: dict[Place, None] = {}
        self._change = threading.Condition()
        self._is_closed = False
        self._partitions, self._ask_again_s = 0, 0.0
        self._thread: threading.Thread | None = None

    def place_of(self, post_id: str, offset: int) -> Place:
        """Return where a version of a post stands; one before all offsets while Kafka is away."""
        if not self._partitions and time.monotonic() > self._ask_again_s:
            self._ask_again_s = time.monotonic() + 2 * _READ_S
            topic = self._environment.topic("posts")
            with suppress(KafkaException):
                admin = AdminClient(client_settings(self._environment, self._health))
                listed = admin.list_topics(topic, timeout=_READ_S).topics
                self._partitions = len(listed[topic].partitions)
        if not self._partitions:
            return Place(0, -1)
        return Place(partition_of(post_id.encode(), self._partitions), offset)

    def read(self, places: Collection[Place], wait_s: float = 0.3) -> Mapping[Place, Post | None]:
        """Return the posts at these places as far as they are known within some time.

        None stands for a record that is gone; what is not there yet is there the next time.
        """
        with self._change:
            missing = [place for place in places if place.offset >= 0 and not self._has(place)]
            if missing:
                self._wanted = dict.fromkeys(missing) | self._wanted
                self._start()
                self._change.notify_all()
                self._change.wait_for(lambda: all(map(self._has, missing)), wait_s)
            return {place: self._known[place] for place in places if place in self._known}

    def _has(self, place: Place) -> bool:
        if place not in self._known:
            return False
        self._known.move_to_end(place)
        return True

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="texts", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        consumer = new_log_consumer(self._environment, self._health)
        try:
            while True:
                with self._change:
                    if not self._wanted:
                        consumer.unassign()
                    self._change.wait_for(lambda: bool(self._wanted) or self._is_closed)
                    if self._is_closed:
                        return
                    asked = self._next()
                found = self._fetch(consumer, asked)
                with self._change:
                    self._keep(found)
                    for place in asked:
                        self._wanted.pop(place, None)
                    self._change.notify_all()
        finally:
            consumer.close()

    def _next(self) -> list[Place]:
        """Return one wanted place of each partition."""
        by_partition: dict[int, Place] = {}
        for place in self._wanted:
            by_partition.setdefault(place.partition, place)
        return list(by_partition.values())

    def _fetch(
        self, consumer: WatchedConsumer, asked: Collection[Place]
    ) -> dict[Place, Post | None]:
        """Read each of these places, of different partitions; what comes with them is kept, too."""
        topic, end_s = self._environment.topic("posts"), time.monotonic() + _READ_S
        left = {place.partition: place.offset for place in asked}
        found: dict[Place, Post | None] = {}
        with suppress(KafkaException):
            consumer.assign([KafkaPartition(topic, *place) for place in asked])
            while left and time.monotonic() < end_s:
                for message in consumer.consume(_AT_ONCE, _POLL_S):
                    error = message.error()
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:
                        continue  # It may name no partition; pages ask for the place again.
                    partition, offset = int(message.partition()), int(message.offset())
                    if error is None:
                        found[Place(partition, offset)] = _post(message.key(), message.value())
                    if partition in left and (error is not None or offset >= left[partition]):
                        # Of a record that was compacted away the next one comes, or the end.
                        found.setdefault(Place(partition, left.pop(partition)), None)
        return found

    def _keep(self, found: Mapping[Place, Post | None]) -> None:
        for place, post in found.items():
            if place not in self._known:
                self._known[place] = post
                self._characters += _size(post)
        while self._characters > _MOST_CHARACTERS and len(self._known) > _AT_ONCE:
            _, dropped = self._known.popitem(last=False)
            self._characters -= _size(dropped)

    def close(self) -> None:
        """End the thread."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join(5)


def _post(key: bytes | None, value: bytes | None) -> Post | None:
    with suppress(BadEvent):
        post = decode_post(key or b"", value)
        return post if isinstance(post, Post) else None
    return None


def _size(post: Post | None) -> int:
    return 500 + (0 if post is None else len(post.text))
