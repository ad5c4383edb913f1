"""What every client of librdkafka is made with."""

from typing import Any

import pytest

from feedmill.streams.kafka import client
from feedmill.streams.kafka.client import ClientHealth, new_producer
from feedmill.streams.settings.environment import Environment


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of the producers that were made."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(client, "Producer", found.append)
    return found


def test_outside_of_transactions_no_request_overtakes_another(made: list[dict[str, Any]]) -> None:
    new_producer(Environment(), ClientHealth())
    new_producer(Environment(), ClientHealth(), transactional_id="worker/a")
    plain, transactional = made
    in_flight = "max.in.flight.requests.per.connection"
    assert (plain["enable.idempotence"], plain["acks"], plain[in_flight]) == (True, "all", 1)
    assert transactional["enable.idempotence"] is True
    assert in_flight not in transactional
