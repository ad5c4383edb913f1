"""What all clients of one process share."""

from __future__ import annotations

from feedmill.streams.kafka.batch_headers import BatchHeaders
from feedmill.streams.kafka.client import (
    FETCH_WAIT_MS,
    ClientHealth,
    WatchedConsumer,
    new_log_consumer,
)
from feedmill.streams.kafka.offsets import Offsets
from feedmill.streams.settings.environment import Environment


class Connection:
    """The environment, what clients complain of, offsets, and headers of batches to pass.

    `fetch_wait_ms` is for the consumers that it makes, see `client.new_log_consumer`.
    """

    def __init__(self, environment: Environment, fetch_wait_ms: int = FETCH_WAIT_MS) -> None:
        self.environment = environment
        self._fetch_wait_ms = fetch_wait_ms
        self.health = ClientHealth()
        self.offsets = Offsets(environment, self.health)
        self.headers = BatchHeaders(environment, self.health)

    def new_log_consumer(self, *, committed: bool = True, waiting: int = 1) -> WatchedConsumer:
        """Return what `client.new_log_consumer` returns."""
        return new_log_consumer(
            self.environment,
            self.health,
            committed=committed,
            waiting=waiting,
            fetch_wait_ms=self._fetch_wait_ms,
        )

    def close(self) -> None:
        """Let go of the threads."""
        self.offsets.close()
        self.headers.close()
