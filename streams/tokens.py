"""The file of tokens: who may sign in to a console or ask a reader, and the hash of each token."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from feedmill.events.errors import UsageError

# What may be done in the console, from least to most; moderators and trainers are not ordered to
# each other.  A reader's token asks for pages of feeds, and signs nobody in.
VIEWER, MODERATOR, TRAINER, OPERATOR = ROLES = ("viewer", "moderator", "trainer", "operator")
READER = "reader"
_MOST_LETTERS, _MOST_PER_SECOND = 64, 1e6


class Token(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A token as the file keeps it: never the token itself.

    `per_second`: how many requests a second a reader answers; of that role alone.
    """

    name: str
    role: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    per_second: float | None = None

    def __post_init__(self) -> None:
        if self.role not in (*ROLES, READER):
            raise ValueError(f"role: expected one of {', '.join((*ROLES, READER))}")
        rate = self.per_second
        if rate is not None if self.role != READER else not 0 < (rate or 0) <= _MOST_PER_SECOND:
            raise ValueError(
                f"rate: expected above 0, up to {_MOST_PER_SECOND:,.0f} requests a second of a"
                f" {READER} (--rate, per_second), and none of anybody else"
            )


def hash_of(token: str) -> str:
    """Return the hash of a token; it has 256 random bits, so a plain hash cannot be guessed."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def of_hash(tokens: Iterable[Token], sha256: str) -> Token | None:
    """Return the token of a hash, compared in constant time; None for an unknown hash."""
    return next((one for one in tokens if hmac.compare_digest(one.sha256, sha256)), None)


class TokenFile:
    """The tokens of a console or of readers; a process that runs sees what another one changes.

    Every method raises `UsageError`: the file is broken, or others may read or change it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def people(self) -> list[Token]:
        """Return the tokens that sign people in to a console; all others ask readers."""
        return [one for one in self.read() if one.role != READER]

    def read(self) -> list[Token]:
        """Return the tokens in the order in which they were added; none without a file."""
        try:
            found, content = self.path.stat(), self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror}; give a file that is yours") from None
        # A platform that mounts a secret for a group owns the file itself.
        if found.st_mode & (0o077 if found.st_uid == os.geteuid() else 0o037):
            raise UsageError(
                f"{self.path}: others than its owner may read or change it; chmod 600 {self.path}"
            )
        try:
            tokens = msgspec.json.decode(content, type=list[Token])
            for kind in ({one.name for one in tokens}, {one.sha256 for one in tokens}):
                if len(kind) < len(tokens):
                    raise msgspec.DecodeError("a name or a token stands there twice")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{self.path}: {error}; restore the file, or remove it and add the tokens again by"
                " `feedmill token add`. If the file has lines of the form `web <hash> 500`, write"
                ' each line as {"name": "web", "role": "reader", "sha256": "<hash>", "per_second":'
                " 500} into a JSON list"
            ) from None
        return tokens

    def add(self, name: str, role: str, per_second: float | None = None) -> str:
        """Add a token for a name that has none, and return it: nothing can show it again."""
        if not name.isprintable() or not 1 <= len(name.strip()) <= _MOST_LETTERS:
            raise UsageError(f"NAME: expected 1 to {_MOST_LETTERS} printable letters, got {name!r}")
        tokens = self.read()
        if any(one.name == name for one in tokens):
            raise UsageError(f"`{name}` has a token; `feedmill token remove` removes it first")
        token = secrets.token_urlsafe(32)
        try:
            added = Token(name, role, hash_of(token), per_second)
        except ValueError as error:
            raise UsageError(str(error)) from None
        self._write([*tokens, added])
        return token

    def remove(self, name: str) -> None:
        """Remove the token of a name, which counts no more at once."""
        tokens = self.read()
        left = [one for one in tokens if one.name != name]
        if len(left) == len(tokens):
            raise UsageError(f"`{name}` has no token; `feedmill token list` shows who has one")
        self._write(left)

    def _write(self, tokens: list[Token]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(tokens)) + b"\n")
        new.replace(self.path)
