"""The words of the demo's posts, read from the text files in `lists/`.

Everything there was written for feedmill; nothing comes from a data set.  Below a line `[name]` a
file has the phrases of that name, a phrase a line; a line that begins with `#` is a comment.
`PostWriter` replaces names in braces, such as `{thing}`, by phrases, and `{n}` by a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

Words = Mapping[str, tuple[str, ...]]

_LISTS: Final = Path(__file__).parent / "lists"
_NAME: Final = re.compile(r"\[(\w+)\]")
LANGUAGES: Final = ("de", "en")
COMMUNITIES: Final = ("python", "cooking", "cycling", "photography", "local-news", "gaming")


def _words(path: Path) -> Words:
    """Return the phrases of a file by their name, in the order of the file."""
    found: dict[str, list[str]] = {}
    for line in path.read_text("utf-8").splitlines():
        if name := _NAME.fullmatch(line):
            phrases = found.setdefault(name[1], [])
        elif line and not line.startswith("#"):
            phrases.append(line)
    return {name: tuple(phrases) for name, phrases in found.items()}


TOPICS: Final[Mapping[tuple[str, str], Words]] = {
    (community, lang): _words(path)
    for community in COMMUNITIES
    for lang in LANGUAGES
    if (path := _LISTS / lang / f"{community}.txt").exists()
}
"""By community and language; some communities have no German."""

VOICES: Final = {lang: _words(_LISTS / lang / "voices.txt") for lang in LANGUAGES}
"""What ordinary posts of all communities say, with a frame for each of three qualities."""

BAD: Final = {path.stem: _words(path) for path in sorted((_LISTS / "bad").glob("*.txt"))}
"""The bad posts by kind.  **The claims in `false` are false**, so that a filter can find them."""
