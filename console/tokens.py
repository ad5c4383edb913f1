"""The file of tokens that sign people in: who has which role, and the hash of each token."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

import msgspec

from feedmill.events.errors import UsageError

# What may be done, from least to most; moderators and trainers are not ordered to each other.
VIEWER, MODERATOR, TRAINER, OPERATOR = ROLES = ("viewer", "moderator", "trainer", "operator")
_MOST_LETTERS = 64


class Token(msgspec.Struct, frozen=True):
    """A token as the file keeps it: never the token itself."""

    name: str
    role: str
    sha256: str


def hash_of(token: str) -> str:
    """Return the hash of a token; it has 256 random bits, so a plain hash cannot be guessed."""
    return hashlib.sha256(token.encode()).hexdigest()


class TokenFile:
    """The tokens of a console; a process that runs sees what another one changes.

    Every method raises `UsageError`: the file is broken, or others than its owner may read it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Token]:
        """Return the tokens in the order in which they were added; none without a file."""
        try:
            mode, content = self._path.stat().st_mode, self._path.read_bytes()
        except FileNotFoundError:
            return []
        if mode & 0o077:
            raise UsageError(
                f"{self._path}: others than its owner may read or change it; chmod 600 {self._path}"
            )
        try:
            return msgspec.json.decode(content, type=list[Token])
        except msgspec.DecodeError as error:
            raise UsageError(
                f"{self._path}: {error}; restore the file, or remove it and add the tokens again"
            ) from None

    def add(self, name: str, role: str) -> str:
        """Add a token for a person who has none, and return it: nothing can show it again."""
        if not name.isprintable() or not 1 <= len(name.strip()) <= _MOST_LETTERS:
            raise UsageError(f"NAME: expected 1 to {_MOST_LETTERS} printable letters, got {name!r}")
        tokens = self.read()
        if any(one.name == name for one in tokens):
            raise UsageError(
                f"`{name}` has a token already; `feedmill console token remove` removes it first"
            )
        token = secrets.token_urlsafe(32)
        self._write([*tokens, Token(name, role, hash_of(token))])
        return token

    def remove(self, name: str) -> None:
        """Remove the token of a person, who is signed out at once."""
        tokens = self.read()
        left = [one for one in tokens if one.name != name]
        if len(left) == len(tokens):
            raise UsageError(
                f"`{name}` has no token; `feedmill console token list` shows who has one"
            )
        self._write(left)

    def _write(self, tokens: list[Token]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(tokens)) + b"\n")
        new.replace(self._path)
