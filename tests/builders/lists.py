"""Lists as a worker has them, and as a store holds them."""

from collections.abc import Iterable

import numpy as np

from feedmill.events.rules import RuleAction
from feedmill.filters.list_store import ListCard, ListEntries, pack_list, save_list
from feedmill.filters.lists import DIGESTS, Digests, ListKind, PostList, digest_of, digest_of_bytes
from feedmill.filters.phrases import PhraseKeys, joined, keys_of, phrase_words
from feedmill.models.artifact import sha256_of
from feedmill.models.store_files import Store


def digests_of(entries: Iterable[str]) -> Digests:
    """Return the digests of entries that are in the form of posts, ascending."""
    return np.unique(np.array([digest_of(entry) for entry in entries], dtype=DIGESTS))


def entries_of(kind: ListKind, entries: Iterable[str]) -> ListEntries:
    """Return the entries of a list, given in the form of posts; phrases as somebody writes them."""
    if kind != "phrases":
        return ListEntries(digests_of(entries), None)
    read = [phrase_words(entry) for entry in entries]
    words = [joined(found) for found, _ in read]
    digests = np.unique(np.array([digest_of_bytes(one) for one in words], dtype=DIGESTS))
    counts = (
        np.unique(np.array([len(found) for found, has in read if has == wanted], dtype=np.uint8))
        for wanted in (False, True)
    )
    return ListEntries(digests, PhraseKeys(np.unique(keys_of(words)), *counts))


def post_list(
    kind: ListKind, entries: Iterable[str], name: str = "bad", verdict: RuleAction = "hide"
) -> PostList:
    """Return a list of spam; it is its version 000000000000."""
    return PostList("spam", name, kind, verdict, "0" * 12, *entries_of(kind, entries))


def stored_list(
    store: Store,
    kind: ListKind,
    entries: Iterable[str],
    name: str = "bad",
    verdict: RuleAction = "hide",
) -> str:
    """Put a list of spam into a store; return its sha256."""
    read = entries_of(kind, entries)
    content = pack_list("spam", name, kind, verdict, read)
    sha256 = sha256_of(content)
    card = ListCard(
        name, "spam", kind, verdict, len(read.digests), sha256, "made up", "CC0-1.0", "2026-11-26"
    )
    save_list(store, card, content)
    return sha256
