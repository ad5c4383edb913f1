"""People sign in by a link or a token, and are signed out when their token goes."""

from pathlib import Path

import pytest

from builders.console_client import ConsoleClient
from builders.running_console import NOWHERE, ConsoleOf, running
from feedmill.console.access import Access
from feedmill.streams.tokens import TokenFile


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens.json")


def is_signed_in(client: ConsoleClient) -> bool:
    return client.get("/nowhere").status == 404


def test_the_link_is_exchanged_for_a_cookie_of_this_port_alone(tokens: TokenFile) -> None:
    access = Access(tokens, link_name="root")
    with running(ConsoleOf(NOWHERE, access)) as client:
        answer = client.get(f"/start?token={access.start_token}")
        assert (answer.status, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"feedmill-console-{client.port}=")
        for wanted in ("HttpOnly", "SameSite=Lax", "Path=/"):
            assert wanted in cookie
        assert access.start_token not in cookie
        client.cookie = cookie.partition(";")[0]
        assert is_signed_in(client)
        assert ">root<" in client.get("/nowhere").text


def test_a_wrong_link_and_a_wrong_token_sign_nobody_in(tokens: TokenFile) -> None:
    tokens.add("ann", "viewer")
    with running(ConsoleOf(NOWHERE, Access(tokens))) as client:
        for path in (
            "/start?token=",
            "/start?token=x",
            f"/start?token={Access(tokens).start_token}",
        ):
            answer = client.get(path)
            assert answer.status == 401
            assert "set-cookie" not in answer.headers
        answer = client.post("/sign-in", [("token", "é")], csrf="")
        assert answer.status == 401
        assert "this is no token" in answer.text
        assert 'aria-describedby="token-error"' in answer.text
        assert not is_signed_in(client)


def test_a_token_signs_in_until_it_is_removed(tokens: TokenFile) -> None:
    token = tokens.add("ann", "viewer")
    with running(ConsoleOf(NOWHERE, Access(tokens))) as client:
        assert client.sign_in_by_token(token)
        assert is_signed_in(client)
        tokens.remove("ann")
        assert not is_signed_in(client)


def test_who_signs_out_is_out(tokens: TokenFile) -> None:
    token = tokens.add("ann", "viewer")
    with running(ConsoleOf(NOWHERE, Access(tokens))) as client:
        assert client.sign_in_by_token(token)
        answer = client.post("/sign-out")
        assert (answer.status, answer.headers["location"]) == (303, "/sign-in")
        assert not is_signed_in(client)


def test_a_sign_in_from_another_site_is_refused(tokens: TokenFile) -> None:
    token = tokens.add("ann", "viewer")
    with running(ConsoleOf(NOWHERE, Access(tokens))) as client:
        answer = client.post(
            "/sign-in",
            [("token", token)],
            csrf="",
            Origin="http://evil.example",
            Sec_Fetch_Site="cross-site",
        )
        assert answer.status == 403
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "then",
    ["//evil.example", "http://evil.example", "/\\evil.example", "javascript:1", "/a\r\nX: y"],
)
def test_the_sign_in_leads_to_pages_of_the_console_alone(tokens: TokenFile, then: str) -> None:
    token = tokens.add("ann", "viewer")
    with running(ConsoleOf(NOWHERE, Access(tokens))) as client:
        answer = client.post("/sign-in", [("token", token), ("then", then)], csrf="")
        assert (answer.status, answer.headers["location"]) == (303, "/")
        answer = client.post("/sign-in", [("token", token), ("then", "/audit?by=ann")], csrf="")
        assert answer.headers["location"] == "/audit?by=ann"


def test_a_token_of_a_reader_signs_nobody_in(tokens: TokenFile) -> None:
    web = tokens.add("web", "reader", 500)
    with running(ConsoleOf(NOWHERE, Access(tokens))) as client:
        assert not client.sign_in_by_token(web)
        assert client.get("/nowhere").status == 303
    ann = tokens.add("ann", "viewer")
    with running(ConsoleOf(NOWHERE, Access(tokens))) as client:
        assert client.sign_in_by_token(ann)
        # The file gives her token to a reader: she is signed out.
        text = tokens.path.read_text("utf-8")
        now = text.replace('"role": "viewer",', '"role": "reader", "per_second": 1,')
        assert now != text
        tokens.path.write_text(now, "utf-8")
        assert client.get("/nowhere").status == 303
