"""A Redis of one test alone, which the test may stop, freeze, fill or flush."""

import os
import signal
from pathlib import Path
from typing import Any

import redis

from builders.waiting import until
from feedmill.deploy.local.process import HOST, Server, free_port
from feedmill.deploy.local.stack import redis_serves, start_redis

# redis-py gives its answers types that fit every option, too wide to compare with.
RedisClient = Any


class OwnRedis:
    """One server on a free port of loopback, its files in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port(set())
        self.url = f"redis://{HOST}:{self.port}/0"
        self._server = Server("redis", folder)
        self._clients: list[redis.Redis] = []

    def start(self) -> None:
        """Start it, empty, and wait until it serves."""
        start_redis(self._server, self.port)
        until(lambda: redis_serves(self.port))

    def stop(self) -> None:
        """Stop it if it runs."""
        if self._server.pid() is not None:
            self.go_on()
            self._server.stop(10)

    def kill(self) -> None:
        """SIGKILL; `start` starts it empty."""
        self._send(signal.SIGKILL)
        until(lambda: self._server.pid() is None)

    def freeze(self) -> None:
        """Have it answer nobody until `go_on`; connections stay."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it answer again."""
        self._send(signal.SIGCONT)

    def client(self, **options: Any) -> RedisClient:
        """A client that decodes to str unless told otherwise; `close` disconnects it."""
        client = redis.Redis.from_url(self.url, **{"decode_responses": True, **options})
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Disconnect all clients, and end it: a stop would wait 10 s for replicas that lag."""
        for client in self._clients:
            client.close()
        if self._server.pid() is not None:
            self.kill()

    def _send(self, number: signal.Signals) -> None:
        pid = self._server.pid()
        assert pid is not None
        os.kill(pid, number)
