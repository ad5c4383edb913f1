"""How long after a post was sent the signal of each model stands committed on its topic.

A process of its own reads the topics `signals.*`, read committed and one record at a time, and
notes when the first signal of each post came.  The clock is `time.perf_counter`, which on Linux
all processes of a machine share.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection

from confluent_kafka import Consumer, TopicPartition
from load import Watcher

from feedmill.streams.environment import Environment

_START_WITHIN_S = 30.0
_LAST_WITHIN_S = 30.0
_POLL_S = 0.1

# By model, then by post: the time of its first signal.
Arrivals = Mapping[str, Mapping[str, float]]


class SendTimes(Watcher):
    """A watcher that also keeps when each watched post was sent."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.sent_at: dict[str, float] = {}

    def watch_post(self, post_id: str, community: str) -> None:
        super().watch_post(post_id, community)
        self.sent_at[post_id] = time.perf_counter()


class SignalReader:
    """Reads the signals of some models until it is asked what it saw; made by `reading`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def delays(self, sent_at: Mapping[str, float]) -> dict[str, list[float]]:
        """Return by model how many milliseconds after it was sent each post had its signal.

        Raises
        ------
        SystemExit
            Some post has no signal of a model half a minute after the call.
        """
        self._connection.send(list(sent_at))
        if not self._connection.poll(2 * _LAST_WITHIN_S):
            raise SystemExit("the reader of signals does not answer")
        arrivals: Arrivals = self._connection.recv()
        delays = {}
        for model, came_at in arrivals.items():
            if missing := sent_at.keys() - came_at.keys():
                raise SystemExit(f"{len(missing)} of {len(sent_at)} posts lack `{model}`")
            delays[model] = [(came_at[post] - at) * 1000 for post, at in sent_at.items()]
        return delays


@contextlib.contextmanager
def reading(environment: Environment, models: Sequence[str]) -> Iterator[SignalReader]:
    """Start a reader of what comes from now on, wait until it reads, and end it after the block."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_read, args=(environment.kafka, _topics(environment, models), there), daemon=True
    )
    process.start()
    try:
        if not here.poll(_START_WITHIN_S):
            raise SystemExit("the reader of signals does not start")
        here.recv()
        yield SignalReader(here)
    finally:
        process.terminate()
        process.join()


def _topics(environment: Environment, models: Sequence[str]) -> dict[str, str]:
    return {environment.topic(f"signals.{model}"): model for model in models}


def _read(kafka: str, topics: Mapping[str, str], connection: Connection) -> None:
    """Note arrivals; once posts are asked for, wait until each model has them and answer."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": "unused",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.assign(_ends(consumer, topics))
    arrivals: dict[str, dict[str, float]] = {model: {} for model in topics.values()}
    connection.send("reads")
    wanted: set[str] | None = None
    until = float("inf")
    while True:
        record = consumer.poll(_POLL_S)
        now = time.perf_counter()
        if record is not None and record.error() is None:
            post_id = (record.key() or b"").decode()
            arrivals[topics[str(record.topic())]].setdefault(post_id, now)
        if wanted is None and connection.poll():
            wanted, until = set(connection.recv()), now + _LAST_WITHIN_S
        if wanted is not None and (record is None or now > until):
            is_complete = all(wanted <= came_at.keys() for came_at in arrivals.values())
            if is_complete or now > until:
                connection.send(arrivals)
                return


def _ends(consumer: Consumer, topics: Mapping[str, str]) -> list[TopicPartition]:
    """Return where each partition ends now."""
    ends = []
    for topic in topics:
        for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            place = TopicPartition(topic, partition)
            place.offset = consumer.get_watermark_offsets(place, timeout=10)[1]
            ends.append(place)
    return ends
