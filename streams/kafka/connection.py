"""What all clients of one process share."""

from __future__ import annotations

from feedmill.streams.kafka.batch_headers import BatchHeaders
from feedmill.streams.kafka.client import ClientHealth
from feedmill.streams.kafka.offsets import Offsets
from feedmill.streams.settings.environment import Environment


class Connection:
    """The environment, what clients complain of, offsets, and headers of batches to pass."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.health = ClientHealth()
        self.offsets = Offsets(environment, self.health)
        self.headers = BatchHeaders(environment, self.health)

    def close(self) -> None:
        """Let go of the threads."""
        self.offsets.close()
        self.headers.close()
