"""What every page asks for: which servers do not answer."""

from __future__ import annotations

from aiohttp import web

from feedmill.console.routes import Route, Visit
from feedmill.console.servers import Servers
from feedmill.console.tokens import VIEWER


def show_servers(visit: Visit) -> web.Response:
    """The notice at the top of every page; without a change there is no content."""
    away = visit.console.part(Servers).away()
    version = " ".join(f"{one.name}{one.since_ms}" for one in away)
    if visit.query("version", "-") == (version or "none"):
        return web.Response(status=204)
    return visit.page("servers.html", away=away, version=version or "none")


ROUTES = (Route("GET", "/servers", VIEWER, show_servers),)
