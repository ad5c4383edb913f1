"""Cursors: which posts a user was shown, six bytes of SHA-256 a post, for any reader."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from hashlib import sha256

from feedmill.readers.request import BadRequest

HASH_BYTES = 6
# After so many posts a user has scrolled to the end: a cursor of 8 kB.
MOST_SHOWN = 1_000
_CHECK_BYTES = 6


def hash_of(post_id: str) -> bytes:
    """Return what a cursor holds of a post."""
    return sha256(post_id.encode()).digest()[:HASH_BYTES]


def cursor_of(feed: str, shown: Iterable[bytes]) -> str:
    """Write the cursor of a feed: safe in a URL, of 8 characters a post."""
    hashes = b"".join(shown)
    return base64.urlsafe_b64encode(_check(feed, hashes) + hashes).decode()


def shown_in(feed: str, cursor: str | None) -> dict[bytes, None]:
    """Read a cursor, in the order of the posts.

    Raises `BadRequest`: it is none of this feed.
    """
    if cursor is None:
        return {}
    try:
        data = base64.b64decode(cursor, b"-_", validate=True)
    except ValueError:
        data = b""
    check, hashes = data[:_CHECK_BYTES], data[_CHECK_BYTES:]
    if check != _check(feed, hashes) or len(hashes) > MOST_SHOWN * HASH_BYTES:
        raise BadRequest(
            f"Expected the `cursor` of a page of this feed, got {cursor[:40]!r} - at `$.cursor`;"
            " leave it out for the first page"
        )
    places = range(0, len(hashes), HASH_BYTES)
    return dict.fromkeys(hashes[at : at + HASH_BYTES] for at in places)


def _check(feed: str, hashes: bytes) -> bytes:
    return sha256(feed.encode() + b"\0" + hashes).digest()[:_CHECK_BYTES]
