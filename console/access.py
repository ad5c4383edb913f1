"""Who is asking: a session after a token or the start link, or what a trusted proxy says."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import NamedTuple

from aiohttp import web

from feedmill.streams.tokens import OPERATOR, VIEWER, TokenFile, hash_of, of_hash

_SESSION_S = 12 * 3600
_MOST_SESSIONS = 10_000


@dataclass(frozen=True)
class Proxy:
    """A proxy that signs people in and says so in headers, which count from these peers alone.

    `roles` has the role of each group of people.
    """

    peers: Sequence[IPv4Network | IPv6Network]
    name_header: str
    groups_header: str
    roles: Mapping[str, str] = field(default_factory=dict)

    def is_peer(self, request: web.Request) -> bool:
        """Whether a request comes from the proxy itself."""
        try:
            address = ip_address(request.remote or "")
        except ValueError:
            return False
        return any(address in network for network in self.peers)


class Visitor(NamedTuple):
    """Who is signed in, what that person may do, and the token that each of their POSTs shows."""

    name: str
    roles: frozenset[str]
    csrf: str

    def may(self, role: str) -> bool:
        """Whether this person may do what takes a role."""
        return role == VIEWER or bool(self.roles & {role, OPERATOR})


class _Session(NamedTuple):
    # Of a token of the file; "" after the start link.
    name: str
    token_sha256: str
    used_s: float


class Access:
    """Signs people in and out, and says who asks.  Safe to call from several threads.

    `link_name` is who has signed in after the start link; None: there is no such link.
    """

    def __init__(
        self, tokens: TokenFile, proxy: Proxy | None = None, link_name: str | None = None
    ) -> None:
        self.start_token = secrets.token_urlsafe(32)
        self._tokens = tokens
        self._proxy = proxy
        self._link_name = link_name
        self._secret = secrets.token_bytes(32)
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()

    def start(self, token: str) -> str | None:
        """Return a new session for whoever has the start link; None for a wrong link."""
        if self._link_name is None or not hmac.compare_digest(
            token.encode(), self.start_token.encode()
        ):
            return None
        return self._new_session(_Session(self._link_name, "", time.monotonic()))

    def sign_in(self, token: str) -> str | None:
        """Return a new session for whoever has a token of the file; None for a wrong one."""
        one = of_hash(self._tokens.people(), hash_of(token))
        if one is None:
            return None
        return self._new_session(_Session(one.name, one.sha256, time.monotonic()))

    def sign_out(self, session: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(hash_of(session), None)

    def visitor(self, request: web.Request, session: str) -> Visitor | None:
        """Return who asks; None: nobody who is signed in."""
        if self._proxy is not None and self._proxy.is_peer(request):
            return self._proxied(self._proxy, request)
        key, now_s = hash_of(session), time.monotonic()
        with self._lock:
            found = self._sessions.get(key)
            if found is None or now_s - found.used_s > _SESSION_S:
                self._sessions.pop(key, None)
                return None
            self._sessions[key] = found._replace(used_s=now_s)
        role = OPERATOR if not found.token_sha256 else self._role_of(found)
        return None if role is None else Visitor(found.name, frozenset([role]), self._csrf(key))

    def _proxied(self, proxy: Proxy, request: web.Request) -> Visitor | None:
        """Return who the proxy says it is: one name, with a group that has a role."""
        names = request.headers.getall(proxy.name_header, [])
        if len(names) != 1 or not names[0].isprintable() or not names[0].strip():
            return None
        groups = ",".join(request.headers.getall(proxy.groups_header, [])).split(",")
        roles = {proxy.roles[group.strip()] for group in groups if group.strip() in proxy.roles}
        name = names[0].strip()
        return Visitor(name, frozenset(roles), self._csrf(f"proxy {name}")) if roles else None

    def _role_of(self, session: _Session) -> str | None:
        """Return the role that a token has by now; None if it was removed."""
        found = of_hash(self._tokens.people(), session.token_sha256)
        return found.role if found else None

    def _csrf(self, of: str) -> str:
        return hmac.new(self._secret, of.encode(), sha256).hexdigest()

    def _new_session(self, session: _Session) -> str:
        secret = secrets.token_urlsafe(32)
        with self._lock:
            if len(self._sessions) >= _MOST_SESSIONS:
                del self._sessions[min(self._sessions, key=lambda key: self._sessions[key].used_s)]
            self._sessions[hash_of(secret)] = session
        return secret
