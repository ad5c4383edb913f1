"""A console that listens: on which addresses, and who may reach it there."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import web

from feedmill.console.access import Access
from feedmill.console.frame import Frame
from feedmill.console.routes import Console
from feedmill.events.errors import UsageError
from feedmill.streams.environment import Environment

NICE = 10
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Address(NamedTuple):
    """Where a console listens, and the url under which browsers reach it if that is another one."""

    host: str
    port: int
    url: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def root(self) -> str:
        """What comes before the path of each page."""
        return urlsplit(self.url).path.rstrip("/")

    def origins(self, port: int) -> list[str]:
        """Return `http://host:port` of each address that browsers may name; the best one first."""
        hosts = [*_LOOPBACK] if self.is_loopback else [self.host]
        if not self.is_loopback and ip_address(self.host).is_unspecified:
            hosts = []
        own = [f"http://{host}" if port == 80 else f"http://{host}:{port}" for host in hosts]
        split = urlsplit(self.url)
        return [f"{split.scheme}://{split.netloc}", *own] if self.url else own


def go_behind_workers() -> None:
    """Lower the priority of this process, so that posts do not wait for pages.

    Linux shares processors among sessions before it does among processes: as the first of a session
    of its own, as under a supervisor, it lowers the session.
    """
    os.nice(NICE)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # another system, or one that shares otherwise
            Path("/proc/self/autogroup").write_text(str(NICE), "ascii")


def checked_address(host: str, port: int, url: str, *, has_sign_in: bool) -> Address:
    """Return where to listen; raises `UsageError` for an address that would be open to strangers.

    `has_sign_in`: there are tokens, or a proxy signs people in.
    """
    address = Address(host, port, url)
    split = urlsplit(url)
    if url and (split.scheme not in ("http", "https") or not split.netloc or split.query):
        raise UsageError(f"--url: expected http:// or https://, a host and a path, got {url!r}")
    try:
        origins = address.origins(port)
    except ValueError:
        raise UsageError(f"--host: expected an address of this machine, got {host!r}") from None
    if not address.is_loopback and not has_sign_in:
        raise UsageError(
            f"--host {host}: others could change everything, since nobody has to sign in; add a"
            " token first, `feedmill token add NAME --role operator`, or name a proxy that"
            " signs people in with --proxy"
        )
    if not origins:
        raise UsageError(f"--host {host}: give --url, the address that browsers will show")
    return address


async def serve(
    environment: Environment,
    address: Address,
    access: Access,
    *,
    read_only: bool,
    told: Callable[[str], None],
    stopping: asyncio.Event,
) -> None:
    """Answer until `stopping` is set; `told` gets the url of the first page once it listens.

    Raises `UsageError`: the port is taken, or the host is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listener = socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {address.host}:{address.port} ({error.strerror}); give another"
            " --host or --port, port 0 takes any free one"
        ) from None
    origins = address.origins(listener.getsockname()[1])
    is_secure = address.url.startswith("https:")
    console = Console(
        environment, access, read_only=read_only, root=address.root, is_secure=is_secure
    )
    runner = web.AppRunner(Frame(console, origins).app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    told(origins[0] + address.root)
    await stopping.wait()
    await runner.cleanup()
