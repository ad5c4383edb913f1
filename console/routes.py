"""What a page is made of: its routes with their roles, a visit, and its answers.

A page is one module of `console/pages`.  It defines `ROUTES`, rows of the table of routes:

    ROUTES = (
        Route("GET", "/queue", VIEWER, show_queue),
        Route("POST", "/queue/decide", MODERATOR, decide),
    )

and `console/pages/__init__.py` adds them to `TABLE`.  Nothing that is not in the table is answered.

A handler is a function of a `Visit`, called in a thread, so that it may block.  It returns an
answer, mostly `visit.page("queue.html", …)`.  It raises `NotFound` for an unknown name, `Conflict`
for what changed meanwhile, and `Refused` where it must not do what is asked; it lets errors of
Kafka and Redis pass.  The frame makes pages of all these.  A value that a command would refuse is
shown by the page itself, beside its field: `except FeedmillError as error: return visit.page(…,
status=422, error=str(error))`.

What all requests share, such as a reader that keeps what it read, is `visit.console.part(Reader)`:
the console calls `Reader(console)` when it is needed first, and `close()` of it at the end.

In templates are `visit` (`visit.may("moderator")`, `visit.visitor.name`), `url("/queue")` for every
address of the console, `static("console.css")`, `… | part` for an id within an address, and
`csrf()`: the hidden field that each form with method POST needs.  A script sends the same token,
`<meta name="csrf-token">`, as the header `X-CSRF-Token`.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from aiohttp import web
from multidict import MultiDict, MultiMapping

from feedmill.console.access import Access, Visitor
from feedmill.console.shared import Shared
from feedmill.events.errors import FeedmillError
from feedmill.operations.changes import MadeBy, made_by
from feedmill.streams.environment import Environment

if TYPE_CHECKING:
    import jinja2

# Pages ask each second; those that show the same share what was drawn in the last so many seconds.
DRAWN_S = 0.8
# The role of what is answered to whoever asks: the sign-in and what its page is made of.
EVERYBODY = ""


class NotFound(FeedmillError):
    """There is nothing of that name; answered with 404 and the nearest one."""

    def __init__(self, what: str, name: str, known: list[str] | tuple[str, ...] = ()) -> None:
        close = get_close_matches(name, known, 1, 0.5)
        self.nearest = close[0] if close else ""
        self.is_page = what == "page"
        super().__init__(
            f"there is no {what} `{name}`" + (f"; did you mean `{close[0]}`?" if close else "")
        )


class Conflict(FeedmillError):
    """What the page showed has changed meanwhile; answered with 409: who changed it, and what."""


class Refused(FeedmillError):
    """Who asks, or how, must not have this; answered with 403."""


class _Part(Protocol):
    def __init__(self, console: Console) -> None: ...
    def close(self) -> None: ...


P = TypeVar("P", bound=_Part)


class Console:
    """What the requests share: the settings of the process, and the parts that pages need.

    `root` comes before the path of every page: "" or as "/feedmill"; `is_secure`: browsers use
    https.
    """

    def __init__(
        self,
        environment: Environment,
        access: Access,
        *,
        read_only: bool = False,
        root: str = "",
        is_secure: bool = False,
    ) -> None:
        self.environment = environment
        self.access = access
        self.read_only = read_only
        self.root = root
        self.is_secure = is_secure
        self._parts: dict[type[Any], Any] = {}
        self._lock = threading.RLock()

    def part(self, kind: type[P]) -> P:
        """Return the one object of a class, which is made when it is needed first."""
        with self._lock:
            if kind not in self._parts:
                self._parts[kind] = kind(self)
            part: P = self._parts[kind]
        return part

    def close(self) -> None:
        """End every part."""
        with self._lock:
            for part in reversed(self._parts.values()):
                part.close()
            self._parts.clear()


@dataclass(frozen=True)
class Visit:
    """A request, by whom, and what it brings.

    Attributes
    ----------
    visitor
        Who is signed in; None only on routes of everybody.
    form
        The fields of a POST.
    """

    console: Console
    request: web.Request
    templates: jinja2.Environment
    visitor: Visitor | None = None
    form: MultiMapping[str] = field(default_factory=MultiDict)

    def may(self, role: str) -> bool:
        """Whether the page is to offer what takes this role."""
        if self.visitor is None or (self.console.read_only and role != "viewer"):
            return False
        return self.visitor.may(role)

    @property
    def names(self) -> Mapping[str, str]:
        """The parts of the path that the route names: of `/posts/{post_id}` the `post_id`."""
        return self.request.match_info

    @property
    def layout(self) -> str:
        """The template around an answer: a page, or a part of one where htmx asked."""
        return "part.html" if "HX-Request" in self.request.headers else "base.html"

    def query(self, name: str, default: str = "") -> str:
        """Return a value of the address, behind the `?`."""
        return self.request.query.get(name, default)

    def made_by(self, note: str = "") -> MadeBy:
        """Return who makes a change, for the audit: who is signed in."""
        return made_by(self.visitor.name if self.visitor else None, "console", note)

    def page(self, template: str, /, status: int = 200, **values: object) -> web.Response:
        """Return a page, or a part of one."""
        text = self.templates.get_template(template).render(visit=self, status=status, **values)
        return web.Response(text=text, status=status, content_type="text/html")

    def part(
        self, template: str, values: Callable[[], Mapping[str, Any]], *key: str
    ) -> web.Response:
        """Answer a page that asks whether a part of it changed: without content if it did not.

        The part is the same for all who ask with these `key`: no token and no role stands in it.
        `values` has its `version`.
        """

        def draw() -> tuple[str, str]:
            found = values()
            text = self.templates.get_template(template).render(visit=self, **found)
            return found["version"], text

        version, text = self.console.part(Shared).get((template, *key), DRAWN_S, draw)
        if self.query("version") == version:
            return web.Response(status=204)
        return web.Response(text=text, content_type="text/html")

    def redirect(self, path: str) -> web.Response:
        """Return the answer that leads a browser to another page of the console."""
        return web.Response(status=303, headers={"Location": self.console.root + path})


Handler = Callable[[Visit], web.Response] | Callable[[Visit], Awaitable[web.Response]]


class Route(NamedTuple):
    """A row of the table: what is asked for, the role that it takes, and what answers.

    A name in braces in the path is a part of it without a slash, as `{post_id}`.
    """

    method: str
    path: str
    role: str
    handler: Handler


STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parent / "templates"
