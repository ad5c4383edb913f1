"""Lists as a worker has them, and as a store holds them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from feedmill.events.rules import RuleAction
from feedmill.filters.list_store import ListCard, pack_list, save_list
from feedmill.filters.lists import DIGESTS, Digests, ListKind, PostList, digest_of
from feedmill.models.artifact import sha256_of
from feedmill.models.store_files import Store


def digests_of(entries: Iterable[str]) -> Digests:
    """Return the digests of entries that are in the form of posts, ascending."""
    return np.unique(np.array([digest_of(entry) for entry in entries], dtype=DIGESTS))


def post_list(
    kind: ListKind, entries: Iterable[str], name: str = "bad", verdict: RuleAction = "hide"
) -> PostList:
    """Return a list of spam; it is its version 000000000000."""
    return PostList("spam", name, kind, verdict, "0" * 12, digests_of(entries))


def stored_list(
    store: Store,
    kind: ListKind,
    entries: Iterable[str],
    name: str = "bad",
    verdict: RuleAction = "hide",
) -> str:
    """Put a list of spam into a store; return its sha256."""
    digests = digests_of(entries)
    content = pack_list("spam", name, kind, verdict, digests)
    sha256 = sha256_of(content)
    card = ListCard(
        name, "spam", kind, verdict, len(digests), sha256, "made up", "CC0-1.0", "2026-11-26"
    )
    save_list(store, card, content)
    return sha256
