"""Whether Redis and Kafka answer, asked by one thread while somebody looks at a page."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from feedmill.console.routes import Console
from feedmill.streams.kafka.client import ClientHealth, client_settings
from feedmill.streams.redis.pipelines import open_client
from feedmill.streams.settings.clock import now_ms

_EVERY_S, _LOOKED_AT_S, _ANSWER_S = 0.5, 10.0, 1.5


class AwayServer(NamedTuple):
    """A server that does not answer, where it should be, and since when."""

    name: str
    address: str
    since_ms: int


class Servers:
    """Those servers that are away, as of a second ago at most."""

    def __init__(self, console: Console) -> None:
        self._environment = console.environment
        self._asked_s = 0.0
        self._away: dict[str, AwayServer] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = threading.Event()

    def away(self) -> list[AwayServer]:
        """Return the servers that do not answer."""
        with self._lock:
            self._asked_s = time.monotonic()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="servers", daemon=True)
                self._thread.start()
            return list(self._away.values())

    def _run(self) -> None:
        client = open_client(
            self._environment.redis, socket_connect_timeout=_ANSWER_S, socket_timeout=_ANSWER_S
        )
        admin = AdminClient(client_settings(self._environment, ClientHealth()))
        while time.monotonic() < self._asked_s + _LOOKED_AT_S:
            self._note("Redis", self._environment.redis_address, _redis_answers(client))
            topic = self._environment.topic("config")
            self._note("Kafka", self._environment.kafka, _kafka_answers(admin, topic))
            if self._is_closed.wait(_EVERY_S):
                break
        client.close()

    def _note(self, name: str, address: str, is_there: bool) -> None:
        with self._lock:
            if is_there:
                self._away.pop(name, None)
            else:
                self._away.setdefault(name, AwayServer(name, address, now_ms()))

    def close(self) -> None:
        """End the thread."""
        self._is_closed.set()


def _redis_answers(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.RedisError:
        return False
    return True


def _kafka_answers(admin: AdminClient, topic: str) -> bool:
    try:
        admin.list_topics(topic, timeout=_ANSWER_S)
    except KafkaException:
        return False
    return True
