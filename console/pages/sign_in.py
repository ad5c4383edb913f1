"""Sign in with a token or the start link, and sign out."""

from __future__ import annotations

from aiohttp import web

from feedmill.console.routes import EVERYBODY, Route, Visit
from feedmill.streams.tokens import VIEWER


def cookie_of(request: web.Request) -> str:
    """Return the name of the cookie: by port, since all ports of a host share cookies."""
    return f"feedmill-console-{request.url.port}"


def _show(visit: Visit) -> web.Response:
    return visit.page("sign_in.html", error="", then=_then(visit.query("then")))


def _sign_in(visit: Visit) -> web.Response:
    then = _then(visit.form.get("then", ""))
    session = visit.console.access.sign_in(visit.form.get("token", "").strip())
    if session is None:
        error = "this is no token, or it was removed; `feedmill token add` makes one"
        return visit.page("sign_in.html", status=401, error=error, then=then)
    return _signed_in(visit, session, then)


def _start(visit: Visit) -> web.Response:
    session = visit.console.access.start(visit.query("token"))
    if session is None:
        error = "this link is of an earlier start; open the link that the console printed last"
        return visit.page("sign_in.html", status=401, error=error, then="/")
    return _signed_in(visit, session, "/")


def _sign_out(visit: Visit) -> web.Response:
    name = cookie_of(visit.request)
    visit.console.access.sign_out(visit.request.cookies.get(name, ""))
    answer = visit.redirect("/sign-in")
    answer.del_cookie(name, path=visit.console.root or "/")
    return answer


def _signed_in(visit: Visit, session: str, then: str) -> web.Response:
    answer = visit.redirect(then)
    answer.set_cookie(
        cookie_of(visit.request),
        session,
        path=visit.console.root or "/",
        httponly=True,
        samesite="Lax",
        secure=visit.console.is_secure,
    )
    return answer


def _then(path: str) -> str:
    """Return the page to go to; only one of the console, and none of another host."""
    is_own = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if is_own and path.isprintable() else "/"


ROUTES = (
    Route("GET", "/start", EVERYBODY, _start),
    Route("GET", "/sign-in", EVERYBODY, _show),
    Route("POST", "/sign-in", EVERYBODY, _sign_in),
    Route("POST", "/sign-out", VIEWER, _sign_out),
)
