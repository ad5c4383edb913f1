"""Every route of the table refuses who must not have it, however the request is dressed."""

import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web

from builders.console_client import Answered, ConsoleClient
from builders.hostile_markup import HOSTILE, markup_of
from builders.running_console import NOWHERE, ConsoleOf, running
from feedmill.console.access import Access, Proxy
from feedmill.console.pages import TABLE
from feedmill.console.routes import EVERYBODY, Conflict, NotFound, Route, Visit
from feedmill.streams.tokens import OPERATOR, ROLES, VIEWER, TokenFile

REACHED = "the page was reached"


def reached(visit: Visit) -> web.Response:
    return web.Response(text=REACHED)


# The whole table with handlers that only say that they were called.
REACHABLE = [
    route._replace(handler=reached) if route.role != EVERYBODY else route for route in TABLE
]
PROTECTED = [route for route in TABLE if route.role != EVERYBODY]
POSTS = [route for route in PROTECTED if route.method == "POST"]


def path_of(route: Route) -> str:
    return re.sub(r"\{[^}]*\}", "x", route.path)


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def may(role: str, route: Route) -> bool:
    return role in (route.role, OPERATOR) or route.role == VIEWER


def ask(client: ConsoleClient, route: Route, **headers: str) -> Answered:
    if route.method == "POST":
        return client.post(path_of(route), [("a", "b")], **headers)
    return client.get(path_of(route), **headers)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    return TokenFile(tmp_path_factory.mktemp("tokens") / "tokens.json")


@pytest.fixture(scope="module")
def client(tokens: TokenFile) -> Iterator[ConsoleClient]:
    with running(ConsoleOf(NOWHERE, Access(tokens)), REACHABLE) as client:
        yield client


@pytest.fixture(scope="module")
def people(client: ConsoleClient, tokens: TokenFile) -> dict[str, ConsoleClient]:
    """Somebody of each role, signed in."""
    signed_in = {}
    for role in ROLES:
        signed_in[role] = ConsoleClient(client.port)
        assert signed_in[role].sign_in_by_token(tokens.add(f"a {role}", role))
    return signed_in


@pytest.mark.parametrize("route", PROTECTED, ids=named)
def test_signed_out_nothing_is_reached(client: ConsoleClient, route: Route) -> None:
    answer = ask(client, route)
    if route.method == "GET":
        assert answer.status == 303
        assert answer.headers["location"] == f"/sign-in?then={quote(path_of(route), safe='')}"
    else:
        assert answer.status == 401
    assert REACHED not in answer.text


@pytest.mark.parametrize("route", PROTECTED, ids=named)
def test_who_has_the_role_and_nobody_else_reaches_a_route(
    people: dict[str, ConsoleClient], route: Route
) -> None:
    for role, client in people.items():
        if route.path == "/sign-out":
            continue  # it would end the session of the other tests
        answer = ask(client, route)
        assert (answer.status, answer.text == REACHED) == (
            (200, True) if may(role, route) else (403, False)
        ), role


@pytest.mark.parametrize("route", POSTS, ids=named)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example", "Sec-Fetch-Site": ""},
        {"Origin": "null", "Sec-Fetch-Site": ""},
        {"Origin": "https://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "", "Sec-Fetch-Site": "none"},
        {"Origin": "", "Sec-Fetch-Site": ""},
    ],
)
def test_a_post_from_elsewhere_is_refused(
    people: dict[str, ConsoleClient], route: Route, headers: dict[str, str]
) -> None:
    spelled = {name.replace("-", "_"): text for name, text in headers.items()}
    answer = ask(people[OPERATOR], route, **spelled)
    assert (answer.status, REACHED in answer.text) == (403, False)


@pytest.mark.parametrize("route", POSTS, ids=named)
def test_a_post_without_the_token_of_its_sign_in_is_refused(
    people: dict[str, ConsoleClient], route: Route
) -> None:
    other = people[VIEWER].csrf
    for token in ("", "0" * 64, other, "é"):
        answer = people[OPERATOR].post(path_of(route), csrf=token)
        assert (answer.status, REACHED in answer.text) == (403, False)


@pytest.mark.parametrize("route", TABLE, ids=named)
def test_a_foreign_host_is_refused(people: dict[str, ConsoleClient], route: Route) -> None:
    client = people[OPERATOR]
    for host in (
        "evil.example",
        f"evil.example:{client.port}",
        "127.0.0.1",
        f"127.0.0.1:{client.port}.",
    ):
        answer = ask(client, route, Host=host)
        assert (answer.status, REACHED in answer.text) == (403, False)


@pytest.mark.parametrize("route", PROTECTED, ids=named)
def test_headers_of_a_proxy_count_from_no_other_peer(client: ConsoleClient, route: Route) -> None:
    answer = ask(client, route, X_Forwarded_User="ann", X_Forwarded_Groups="admins")
    assert answer.status in (303, 401)


def test_what_is_not_in_the_table_is_refused(people: dict[str, ConsoleClient]) -> None:
    operator = people[OPERATOR]
    for path in (
        "/metrics",
        "/static/",
        "/static/0/console.css",
        "/static/x/..%2froutes.py",
        "/queue/",
    ):
        assert operator.get(path).status == 404, path
    assert operator.post("/sign-out/x").status == 404
    assert operator.get("/settings").status == 404
    assert "did you mean `/queue`?" in operator.get("/quee").text


def test_a_route_is_only_of_known_roles_and_changes_nothing_by_get() -> None:
    assert {route.role for route in TABLE} <= {EVERYBODY, *ROLES}
    assert {route.method for route in TABLE} == {"GET", "POST"}
    assert {route.path for route in TABLE if route.role == EVERYBODY} == {"/start", "/sign-in"}


# --- people who come through a proxy ---------------------------------------------------------


def proxied(peers: str) -> ConsoleOf:
    roles = {"mods": "moderator", "admins": "operator"}
    proxy = Proxy([ip_network(peers)], "X-Forwarded-User", "X-Forwarded-Groups", roles)
    return ConsoleOf(NOWHERE, Access(TokenFile(Path("none")), proxy))


def test_a_named_proxy_signs_people_in_by_name_and_groups() -> None:
    with running(proxied("127.0.0.0/8"), REACHABLE) as client:
        client.own = {"X-Forwarded-User": "ann", "X-Forwarded-Groups": "staff, mods"}
        assert client.get("/queue").text == REACHED
        assert client.post("/overrides").text == REACHED
        assert client.post("/settings").status == 403
        for own in (
            {"X-Forwarded-User": "ann", "X-Forwarded-Groups": "staff"},
            {"X-Forwarded-User": "", "X-Forwarded-Groups": "mods"},
            {"X-Forwarded-Groups": "mods"},
        ):
            client.own = own
            assert client.get("/queue").status == 303


def test_another_peer_than_the_proxy_is_nobody() -> None:
    with running(proxied("10.0.0.0/8"), REACHABLE) as client:
        client.own = {"X-Forwarded-User": "ann", "X-Forwarded-Groups": "admins"}
        assert client.get("/queue").status == 303
        assert client.post("/settings", csrf="x").status == 401


# --- answers ---------------------------------------------------------------------------------


def test_every_answer_has_the_policy_and_pages_are_not_kept(
    people: dict[str, ConsoleClient], client: ConsoleClient
) -> None:
    operator = people[OPERATOR]
    answers = [operator.get("/queue"), operator.get("/nowhere"), client.get("/queue")]
    answers += [client.get("/sign-in"), client.get("/queue", Host="evil"), operator.post("/x")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
    style = re.search(r'href="(/static/[0-9a-f]+/console\.css)"', client.get("/sign-in").text)
    assert style is not None
    assert client.get(style[1]).headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_text_on_error_pages(tokens: TokenFile, text: str) -> None:
    def fail(visit: Visit) -> web.Response:
        raise NotFound("post", text)

    def conflict(visit: Visit) -> web.Response:
        raise Conflict(text)

    table = [Route("GET", "/a", EVERYBODY, fail), Route("GET", "/b", EVERYBODY, conflict)]
    with running(ConsoleOf(NOWHERE, Access(tokens)), table) as client:
        for path, status in (("/a", 404), ("/b", 409)):
            answer = client.get(path)
            assert answer.status == status
            assert markup_of(text, answer.text) == []


def test_what_goes_wrong_in_a_page_is_said_without_its_inside(tokens: TokenFile) -> None:
    def fail(visit: Visit) -> web.Response:
        raise ZeroDivisionError("a password")

    table = [Route("GET", "/a", EVERYBODY, fail)]
    with running(ConsoleOf(NOWHERE, Access(tokens)), table) as client:
        answer = client.get("/a")
        assert answer.status == 500
        assert "password" not in answer.text


def test_without_kafka_and_redis_pages_say_so(tokens: TokenFile) -> None:
    with running(ConsoleOf(NOWHERE, Access(tokens))) as client:
        client.sign_in_by_token(tokens.add("olga", OPERATOR))
        audit = client.get("/audit")
        assert (audit.status, "Kafka at 127.0.0.1:1" in audit.text) == (503, True)
        fields = [("subject", "post:p1"), ("verdict", "hide"), ("post_offset", "1")]
        decided = client.post("/overrides", fields)
        assert decided.status == 503


# --- read-only, sub-paths, signing in and out ------------------------------------------------


def test_read_only_changes_nothing_whoever_asks(tokens: TokenFile) -> None:
    with running(ConsoleOf(NOWHERE, Access(tokens), read_only=True), REACHABLE) as client:
        client.sign_in_by_token(tokens.add("oscar", OPERATOR))
        for route in POSTS:
            if route.path != "/sign-out":
                answer = ask(client, route)
                assert answer.status == 403
                assert "--read-only" in answer.text
        assert client.get("/audit").text == REACHED
        assert client.post("/sign-out").text == REACHED


def test_all_pages_may_stand_under_a_path(tokens: TokenFile) -> None:
    with running(ConsoleOf(NOWHERE, Access(tokens), root="/feedmill")) as client:
        answer = client.get("/feedmill/audit")
        assert answer.headers["location"] == "/feedmill/sign-in?then=%2Faudit"
        assert 'action="/feedmill/sign-in"' in client.get("/feedmill/sign-in").text
        assert client.get("/audit").headers["location"].startswith("/feedmill/sign-in")
