"""Texts are read again after an error of Kafka that names no partition."""

import json
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from feedmill.console import texts
from feedmill.console.texts import Place, Texts

PLACE, START_MS = Place(1, 7), 1_700_000_000_000


def message(error: KafkaError | None, *of: Any) -> Any:
    partition, offset, key, value = of or (None, None, None, None)
    return SimpleNamespace(
        error=lambda: error,
        partition=lambda: partition,
        offset=lambda: offset,
        key=lambda: key,
        value=lambda: value,
    )


class Refusing:
    """A consumer that Kafka refuses at first, with an error as librdkafka gives for a topic."""

    def __init__(self) -> None:
        post = {"post_id": "p", "author_id": "a", "text": "a walk", "created_at_ms": START_MS}
        refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
        self._left = [
            [message(refused)],
            [message(None, PLACE.partition, PLACE.offset, b"p", json.dumps(post).encode())],
        ]

    def consume(self, _: int, __: float) -> Sequence[Any]:
        time.sleep(0.01)
        return self._left.pop(0) if self._left else ()

    def assign(self, _: Any) -> None: ...

    def unassign(self) -> None: ...

    def close(self) -> None: ...


def test_a_refusal_without_a_partition_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "new_log_consumer", lambda *_: Refusing())
    environment: Any = SimpleNamespace(topic=lambda name: name)
    reader = Texts(SimpleNamespace(environment=environment))  # type: ignore[arg-type]  # all it reads
    try:
        found = reader.read([PLACE], 10)
        post = found[PLACE]
        assert post is not None
        assert post.text == "a walk"
    finally:
        reader.close()
