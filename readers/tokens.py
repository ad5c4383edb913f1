"""Who may ask a reader: bearer tokens by their hashes, each with a rate."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from feedmill.events.errors import UsageError

_MEANING = "lines of `<name> <sha256 of the token in 64 hexadecimal digits> <requests a second>`"


class Holder:
    """Whoever has a token; `may_ask` takes one request from what the rate gives."""

    def __init__(self, name: str, per_second: float) -> None:
        self.name, self.per_second = name, per_second
        self._left, self._at_s = max(1.0, per_second), 0.0

    def may_ask(self, now_s: float) -> bool:
        """Whether another request is within the rate; a second's worth may come at once."""
        most = max(1.0, self.per_second)
        self._left = min(most, self._left + (now_s - self._at_s) * self.per_second)
        self._at_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Tokens:
    """The tokens of a file, read again when the file changes.

    Raises `UsageError` at the start if the file is wrong; later the tokens before stay, and
    `trouble` says why.
    """

    def __init__(self, path: Path) -> None:
        self.trouble = ""
        self._path = path
        self._stamp = self._stamp_of(path)
        self._holders = read_tokens(path)

    def look(self) -> None:
        """Read the file again if it changed."""
        try:
            stamp = self._stamp_of(self._path)
            if stamp == self._stamp:
                return
            holders, self._stamp = read_tokens(self._path), stamp
        except UsageError as error:
            self.trouble = str(error)
            return
        same = {h: one for h, one in self._holders.items() if h in holders}
        rates = {h: (one.name, one.per_second) for h, one in holders.items()}
        self._holders = {
            h: same[h] if h in same and (same[h].name, same[h].per_second) == rates[h] else holder
            for h, holder in holders.items()
        }
        self.trouble = ""

    def holder(self, authorization: str) -> Holder | None:
        """Who sent this header `Authorization`; None if it has no token of the file."""
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer":
            return None
        return self._holders.get(sha256(token.strip().encode("utf-8", "replace")).hexdigest())

    def _stamp_of(self, path: Path) -> tuple[int, int]:
        try:
            found = path.stat()
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}; expected {_MEANING}") from None
        return found.st_mtime_ns, found.st_size


def read_tokens(path: Path) -> dict[str, Holder]:
    """Return the holders of a file by the hashes of their tokens.

    Raises `UsageError`: the file cannot be read, or a line is wrong; no line is quoted.
    """
    holders: dict[str, Holder] = {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"{path} cannot be read; expected {_MEANING}") from None
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        try:
            name, digest, rate = words
            is_right = len(bytes.fromhex(digest)) == 32 and 0 < float(rate) <= 1e6
        except ValueError:
            is_right = False
        if not is_right or digest.lower() in holders:
            raise UsageError(f"{path}, line {number}: expected {_MEANING}, each token once")
        holders[digest.lower()] = Holder(name, float(rate))
    if not holders:
        raise UsageError(f"{path} has no token; expected {_MEANING}")
    return holders
