"""A Redis of one benchmark alone, empty, on a free port."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from feedmill.deploy.local.ports import HOST, free_port
from feedmill.deploy.local.process import Server
from feedmill.deploy.local.redis_server import redis_serves, start_redis


@contextmanager
def own_redis() -> Iterator[str]:
    """Yield the address of a server that ends with the block."""
    with TemporaryDirectory() as folder:
        server, port = Server("redis", Path(folder)), free_port(set())
        start_redis(server, port)
        try:
            while not redis_serves(port):
                time.sleep(0.01)
            yield f"redis://{HOST}:{port}/0"
        finally:
            server.stop(10)
