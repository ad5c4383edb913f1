"""What a client says of itself that knows no broker any more."""

import json
from typing import Any

from feedmill.streams.kafka.client import KnownBrokers

COORDINATOR = {"name": "GroupCoordinator", "nodeid": -1, "source": "logical", "state": "INIT"}
NO_BROKERS = json.dumps({"brokers": {"GroupCoordinator": COORDINATOR}}, separators=(",", ":"))


class NoBrokers(KnownBrokers):
    """Takes each statistic for one that names no broker."""

    def note(self, statistics: str) -> None:
        super().note(NO_BROKERS)


def forget_brokers(client: Any) -> None:
    """Have a client believe for good that it knows no broker, until another takes its place."""
    client.brokers.__class__ = NoBrokers
    while not client.brokers.are_lost:
        client.brokers.note("")
