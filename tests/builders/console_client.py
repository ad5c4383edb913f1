"""A browser without a screen: asks a console as somebody, with the headers that a browser sends."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from urllib.parse import urlencode

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answered:
    """An answer: its status, headers in lower case, and text."""

    status: int
    headers: Mapping[str, str]
    text: str


@dataclass
class ConsoleClient:
    """Somebody at a console on this machine; `cookie` after the sign-in."""

    port: int
    cookie: str = ""
    own: Mapping[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **headers: str) -> Answered:
        """GET a page; a header's name has `_` for `-`."""
        return self._ask("GET", path, None, headers)

    def post(
        self, path: str, fields: Fields = (), csrf: str | None = None, **headers: str
    ) -> Answered:
        """POST a form as a page of the console does; `csrf` None: with the token of a page."""
        token = self.csrf if csrf is None else csrf
        body = urlencode([*fields, *([("csrf", token)] if token else [])])
        usual = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}
        return self._ask("POST", path, body, {**usual, **headers})

    @property
    def csrf(self) -> str:
        """The token that each form of a page has."""
        found = re.search(r'name="csrf-token" content="([0-9a-f]+)"', self.get("/no-page").text)
        return found[1] if found else ""

    def sign_in_by_token(self, token: str) -> bool:
        """Sign in, and say whether that was possible."""
        answer = self.post("/sign-in", [("token", token)], csrf="")
        self.cookie = answer.headers.get("set-cookie", "").partition(";")[0]
        return answer.status == 303

    def _ask(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str]
    ) -> Answered:
        sent = {**self.own, **{name.replace("_", "-"): text for name, text in headers.items()}}
        sent = {name: text for name, text in sent.items() if text}
        if self.cookie:
            sent["Cookie"] = self.cookie
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            found = {name.lower(): text for name, text in answer.getheaders()}
            return Answered(answer.status, found, answer.read().decode())
        finally:
            connection.close()
