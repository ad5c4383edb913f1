"""A console that runs in this process, with routes and parts as a test wants them."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from builders.console_client import ConsoleClient
from feedmill.console.access import Access
from feedmill.console.frame import Frame
from feedmill.console.pages import TABLE
from feedmill.console.routes import Console, Route
from feedmill.streams.environment import Environment

# Nothing listens there, so whoever asks is refused at once.
NOWHERE = Environment(kafka="127.0.0.1:1", redis="redis://127.0.0.1:1/0")


class ConsoleOf(Console):
    """A console with some parts that a test gives it in place of its own."""

    def __init__(
        self,
        environment: Environment,
        access: Access,
        given: Mapping[type[Any], Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(environment, access, **options)
        self._given = dict(given or {})

    def part(self, kind: type[Any]) -> Any:
        return self._given[kind] if kind in self._given else super().part(kind)


@contextmanager
def running(console: Console, table: Sequence[Route] = TABLE) -> Iterator[ConsoleClient]:
    """Serve a console; yield a client who is not signed in."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    loop, ready = asyncio.new_event_loop(), threading.Event()

    async def serve() -> web.AppRunner:
        runner = web.AppRunner(Frame(console, [f"http://127.0.0.1:{port}"], table).app)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runners.append(loop.run_until_complete(serve()))
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runners[0].cleanup())

    runners: list[web.AppRunner] = []
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield ConsoleClient(port)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
