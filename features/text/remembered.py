"""Remembers what was made of the latest texts: all filters, rules and lists read the same ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

# Of texts and what was made of them: more than a cycle has.
MOST_CHARACTERS = 1 << 21


def remembered(compute: Callable[[str], str]) -> Callable[[str], str]:
    """Return a pure function of texts that looks among what it returned last.

    It forgets all at once, so that a text costs a look-up, and no more memory than
    `MOST_CHARACTERS` is held.
    """
    known: dict[str, str] = {}
    characters = 0

    @wraps(compute)
    def recalled(text: str) -> str:
        nonlocal characters
        found = known.get(text)
        if found is None:
            found = compute(text)
            characters += len(text) + len(found)
            if characters > MOST_CHARACTERS:
                known.clear()
                characters = len(text) + len(found)
            known[text] = found
        return found

    return recalled
