"""A Kafka of one broker whose clock a test sets while it runs."""

import time
from pathlib import Path

import pytest

from builders.debian import unpacked
from builders.waiting import now_ms, until
from feedmill.deploy.local.kafka_server import Broker, broker_serves, start_broker
from feedmill.deploy.local.ports import HOST, free_port
from feedmill.deploy.local.process import Server


class ClockedKafka:
    """Its clock is `ahead_s` seconds before that of the machine, by libfaketime."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (library,) = unpacked("libfaketime").rglob("libfaketime.so.1")
        port, controller_port = free_port(set()), free_port(set())
        self.address = f"{HOST}:{port}"
        self._clock = folder / "clock"
        self.set_ahead(0)
        self._server = Server("kafka", folder)
        broker = Broker(1, self._server, port, controller_port)
        with pytest.MonkeyPatch.context() as environ:
            environ.setenv("LD_PRELOAD", str(library))
            environ.setenv("FAKETIME_TIMESTAMP_FILE", str(self._clock))
            environ.setenv("FAKETIME_CACHE_DURATION", "1")
            environ.setenv("NO_FAKE_STAT", "1")
            # With it timed waits return at once.
            environ.setenv("FAKETIME_FORCE_MONOTONIC_FIX", "0")
            # Only the time of day: how long something takes is as it was.
            environ.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            start_broker(broker, [broker])
        until(lambda: broker_serves(port), 60)

    def set_ahead(self, seconds: int) -> None:
        """Set the clock."""
        self.ahead_s = seconds
        changed = self._clock.with_suffix(".next")
        changed.write_text(f"{seconds:+d}", "utf-8")
        changed.rename(self._clock)
        # It reads the file every second.
        time.sleep(1.5)

    def now_ms(self) -> int:
        """What its clock shows."""
        return now_ms() + self.ahead_s * 1000

    def close(self) -> None:
        """Stop the broker."""
        self._server.stop(30)
