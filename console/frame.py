"""The frame of the console: it answers what the table of routes has, to who may have it."""

from __future__ import annotations

import asyncio
import hmac
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import jinja2
import kafka.errors
import redis
from aiohttp import web
from confluent_kafka import KafkaException
from markupsafe import Markup
from multidict import MultiDict

from feedmill.console.pages import TABLE
from feedmill.console.pages.sign_in import cookie_of
from feedmill.console.routes import (
    EVERYBODY,
    STATIC,
    TEMPLATES,
    Conflict,
    Console,
    NotFound,
    Refused,
    Route,
    Visit,
)
from feedmill.console.words import add_filters
from feedmill.events.errors import FeedmillError
from feedmill.operations.times import age_text, time_text
from feedmill.streams.kafka.client import kafka_errors

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self';"
        " img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none';"
        " base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: forms would then send `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_FOR_EVER = "public, max-age=31536000, immutable"
_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".woff2": "font/woff2",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
# Blocking clients wait in these threads.
_THREADS = 32
_MOST_BYTES = 1024 * 1024


class Frame:
    """The application of a console.

    Attributes
    ----------
    origins
        `http://host:port` of every address under which browsers reach it.
    """

    def __init__(
        self, console: Console, origins: Collection[str], table: Sequence[Route] = TABLE
    ) -> None:
        self._console = console
        self.origins = frozenset(origins)
        self._hosts = {origin.partition("://")[2] for origin in origins}
        self._static = {path.name: path.read_bytes() for path in sorted(STATIC.iterdir())}
        self._version = sha256(b"".join(self._static.values())).hexdigest()[:12]
        self._templates = self._new_templates()
        self._threads = ThreadPoolExecutor(_THREADS, "console")
        self._routes: dict[Any, Route] = {}
        self.app = web.Application(middlewares=[self._answer], client_max_size=_MOST_BYTES)
        static = Route("GET", "/static/{version}/{name}", EVERYBODY, self._serve_static)
        for route in (*table, static):
            added = self.app.router.add_route(
                route.method, console.root + route.path, _never, expect_handler=None
            )
            self._routes[added] = route
        self.app.on_response_prepare.append(_add_headers)
        self.app.on_cleanup.append(self._close)

    async def _close(self, _: web.Application) -> None:
        await asyncio.to_thread(self._console.close)
        self._threads.shutdown(wait=False, cancel_futures=True)

    # --- a request ----------------------------------------------------------------------------

    @web.middleware
    async def _answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer a request by the table; aiohttp's own `handler` is never called."""
        visit = Visit(self._console, request, self._templates)
        try:
            if request.headers.getall("Host", []) not in [[host] for host in self._hosts]:
                raise Refused(
                    f"this console is not reached as {request.headers.get('Host', '')!r}; open"
                    f" {' or '.join(sorted(self.origins))}, or start it with --url"
                )
            route = self._routes.get(request.match_info.route)
            cookie = request.cookies.get(cookie_of(request), "")
            visitor = await self._in_thread(self._console.access.visitor, request, cookie)
            visit = replace(visit, visitor=visitor)
            if visitor is None and (route is None or route.role != EVERYBODY):
                return _sign_in_first(visit)
            if route is None:
                raise self._unknown(request)
            if route.method == "POST":
                visit = await self._checked_post(visit, route)
            elif route.role and not visit.may(route.role):
                raise _role_missing(visit, route)
            return await self._handled(route, visit)
        except Exception as error:  # noqa: BLE001 - whatever a page raises becomes an error page
            return self._error_page(visit, error)

    async def _handled(self, route: Route, visit: Visit) -> web.StreamResponse:
        if inspect.iscoroutinefunction(route.handler):
            answer: web.StreamResponse = await route.handler(visit)
        else:
            answer = await self._in_thread(self._called, route, visit)
        return answer

    def _called(self, route: Route, visit: Visit) -> Any:
        with kafka_errors(self._console.environment):
            return route.handler(visit)

    async def _in_thread(self, function: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def _checked_post(self, visit: Visit, route: Route) -> Visit:
        """Return the visit with its form; raises `Refused` unless it comes from a page of ours."""
        origin = visit.request.headers.get("Origin")
        site = visit.request.headers.get("Sec-Fetch-Site")
        if (origin, site) == (None, None) or origin not in (None, *self.origins):
            raise Refused(f"this was sent from {origin or 'no page'}, not from this console")
        if site not in (None, "same-origin"):
            raise Refused("this was sent from a page of another site, not from this console")
        sent = await visit.request.post()
        form = MultiDict((name, str(value)) for name, value in sent.items())
        if route.role != EVERYBODY:
            shown = form.pop("csrf", "") or visit.request.headers.get("X-CSRF-Token", "")
            expected = visit.visitor.csrf if visit.visitor else ""
            if not expected or not hmac.compare_digest(shown.encode(), expected.encode()):
                raise Refused("the page is older than your sign-in; reload it and send it again")
            if self._console.read_only and route.path != "/sign-out":
                raise Refused("this console was started with --read-only: it changes nothing")
            if not visit.may(route.role) and route.path != "/sign-out":
                raise _role_missing(visit, route)
        return replace(visit, form=form)

    def _unknown(self, request: web.Request) -> NotFound:
        known = [route.path for route in self._routes.values() if route.method == "GET"]
        path = request.path.removeprefix(self._console.root)
        return NotFound("page", path, [one for one in known if "{" not in one])

    # --- answers ------------------------------------------------------------------------------

    def _error_page(self, visit: Visit, error: Exception) -> web.Response:
        status, title, text = _explained(error)
        if status == 500:
            log.exception("%s %s", visit.request.method, visit.request.path, exc_info=error)
        elif isinstance(error, redis.RedisError):
            text = f"Redis at {self._console.environment.redis_address}: {text}"
        elif isinstance(error, kafka.errors.KafkaError):
            text = f"Kafka at {self._console.environment.kafka}: {text}"
        if "json" in visit.request.headers.get("Accept", ""):
            return web.json_response({"error": text}, status=status)
        nearest = error.nearest if isinstance(error, NotFound) and error.is_page else ""
        said = {"title": title, "text": text, "nearest": nearest, "retries": status == 503}
        return visit.page("error.html", status=status, **said)

    def _serve_static(self, visit: Visit) -> web.Response:
        name = visit.names["name"]
        if name not in self._static or visit.names["version"] != self._version:
            raise NotFound("file", name, tuple(self._static))
        kind = _TYPES.get(f".{name.rpartition('.')[2]}", "application/octet-stream")
        return web.Response(
            body=self._static[name], content_type=kind, headers={"Cache-Control": _FOR_EVER}
        )

    def _new_templates(self) -> jinja2.Environment:
        templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        templates.globals["url"] = lambda path: self._console.root + path
        templates.globals["static"] = self._static_url
        templates.globals["csrf"] = _csrf_field
        templates.filters["age"] = age_text
        templates.filters["time"] = time_text
        templates.filters["part"] = lambda text: quote(str(text), safe="")
        add_filters(templates)
        return templates

    def _static_url(self, name: str) -> str:
        if name not in self._static:
            raise KeyError(f"console/static has no {name}")
        return f"{self._console.root}/static/{self._version}/{name}"


async def _never(_: web.Request) -> web.StreamResponse:
    """The middleware answers every request by the table."""
    raise web.HTTPNotFound


@jinja2.pass_context
def _csrf_field(context: jinja2.runtime.Context) -> Markup:
    visitor = context["visit"].visitor
    token = visitor.csrf if visitor else ""
    return Markup('<input type="hidden" name="csrf" value="{}">').format(token)


def _sign_in_first(visit: Visit) -> web.Response:
    """Lead a browser that asks for a page to the sign-in; refuse everything else."""
    request = visit.request
    if request.method == "GET" and "HX-Request" not in request.headers:
        path = request.rel_url.raw_path_qs.removeprefix(visit.console.root) or "/"
        return visit.redirect(f"/sign-in?then={quote(path, safe='')}")
    return visit.page(
        "error.html",
        status=401,
        title="Signed out",
        text="sign in, then send it again",
        nearest="/sign-in",
        retries=False,
    )


def _role_missing(visit: Visit, route: Route) -> Refused:
    if visit.console.read_only and visit.visitor and visit.visitor.may(route.role):
        return Refused("this console was started with --read-only: it changes nothing")
    return Refused(f"this takes the role {route.role}; ask an operator for it")


# By kind of error the status and the title of its page; the first one that fits.
_KINDS: tuple[tuple[type[Exception], int, str], ...] = (
    (NotFound, 404, "Not found"),
    (Conflict, 409, "Changed meanwhile"),
    (Refused, 403, "Not allowed"),
    (FeedmillError, 422, "Refused"),
    (kafka.errors.KafkaError, 503, "Kafka is away"),
    (redis.RedisError, 503, "Redis is away"),
)


def _explained(error: Exception) -> tuple[int, str, str]:
    """Return the status, the title and the text of what went wrong."""
    if isinstance(error, FeedmillError) and isinstance(error.__cause__, KafkaException):
        return 503, "Kafka is away", str(error)
    for kind, status, title in _KINDS:
        if isinstance(error, kind):
            return status, title, str(error) or kind.__name__
    if isinstance(error, web.HTTPException) and error.status < 500:
        return error.status, "Refused", error.reason
    return 500, "An error of the console", "its log has the reason; nothing was changed"


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.pop("Server", None)
