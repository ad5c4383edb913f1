"""Legal texts that somebody could write to make a reader work long, each beside an ordinary one.

All are drawn by a seed, and cut to a number of characters: equal seeds give equal texts.
"""

import random
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from string import ascii_lowercase

from feedmill.events.limits import MAX_TEXT_CHARACTERS

# Which the shipped filter knows; written for tests.
SPAM = (
    "Subscribe to my channel for free gift cards and check out my new video",
    "Congratulations, you have won a cash prize! Call now to claim your reward",
    "Make extra money from home, earn free cash every week, sign up now at my website",
    "Please check out my new song and subscribe to my channel, thank you",
    "Your mobile number was selected for a free prize, text WIN to claim now",
    "Get free followers and likes instantly, click the link and join us today",
)

_EVERYDAY = Path(__file__).parents[1] / "filters" / "everyday.txt"
_CYRILLIC_ALIKE = str.maketrans(
    "aeopcxyisjhd", "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0455\u0458\u04bb\u0501"
)
_CYRILLIC = [chr(code) for code in range(0x430, 0x450)]
_LEET = str.maketrans("aeiost", "431057")
_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
# Of several combining classes, so that they have to be put in order.
_MARKS = [c for c in map(chr, range(0x300, 0x370)) if unicodedata.combining(c)]
_EMOJI = [chr(code) for code in range(0x1F600, 0x1F640)]
_TOP_LEVEL = ("com", "org", "net", "io", "co.uk", "de")

Draw = Callable[[random.Random], str]


def ordinary_text(length: int = MAX_TEXT_CHARACTERS, seed: int = 1) -> str:
    """Return sentences of everyday English words."""
    drawn = random.Random(f"ordinary {seed}")
    return _filled(_sentence, length, drawn)


def hostile_texts(length: int = MAX_TEXT_CHARACTERS, seed: int = 1) -> Mapping[str, str]:
    """Return a text of each kind by its name, all of `length` characters."""
    return {
        kind: _filled(draw, length, random.Random(f"{kind} {seed}"))
        for kind, draw in _KINDS.items()
    }


def _filled(draw: Draw, length: int, drawn: random.Random) -> str:
    parts, size = [], 0
    while size < length:
        part = draw(drawn)
        parts.append(part)
        size += len(part)
    return "".join(parts)[:length]


@cache
def _vocabulary() -> list[str]:
    return sorted({word for word in _EVERYDAY.read_text().lower().split() if word.isalpha()})


def _word(drawn: random.Random) -> str:
    return drawn.choice(_vocabulary())


def _sentence(drawn: random.Random) -> str:
    words = drawn.choices(_vocabulary(), k=drawn.randint(6, 18))
    if drawn.random() < 0.3:
        words[drawn.randrange(len(words))] += ","
    return " ".join(words).capitalize() + drawn.choice([".", ".", ".", "!", "?"]) + " "


def _name(drawn: random.Random, letters: str | list[str] = ascii_lowercase) -> str:
    return "".join(drawn.choices(letters, k=drawn.randint(2, 9)))


def _torn(drawn: random.Random) -> str:
    word, pieces = _word(drawn) + _word(drawn), []
    while word:
        cut = drawn.randint(1, 3)
        pieces.append(word[:cut])
        word = word[cut:]
    return " ".join(pieces) + " "


def _marked(drawn: random.Random) -> str:
    return "".join(
        letter + "".join(drawn.choices(_MARKS, k=drawn.randint(1, 12))) for letter in _word(drawn)
    )


def _interspersed(signs: str) -> Draw:
    def draw(drawn: random.Random) -> str:
        return "".join(letter + drawn.choice(signs) for letter in _word(drawn)) + " "

    return draw


@cache
def _expanding() -> list[str]:
    """Characters that become four or more in Unicode's form NFKC."""
    every = map(chr, [*range(0xA0, 0xD800), *range(0xE000, 0x30000)])
    return [c for c in every if len(unicodedata.normalize("NFKC", c)) >= 4]


def _address(drawn: random.Random) -> str:
    path = "/".join(_name(drawn) for _ in range(drawn.randint(0, 3)))
    return f"https://{_name(drawn)}.{_name(drawn)}.{drawn.choice(_TOP_LEVEL)}/{path} "


def _idn(drawn: random.Random) -> str:
    return f"{_name(drawn, _CYRILLIC)}.{_name(drawn, _CYRILLIC)}.\u0440\u0444 "


def _long_idn(drawn: random.Random) -> str:
    labels = ("".join(drawn.choices(_CYRILLIC, k=drawn.randint(8, 30))) for _ in range(7))
    return f"http://{'.'.join(labels)}.\u0440\u0444/ "


def _any_kind(drawn: random.Random) -> str:
    kinds = [kind for kind in _KINDS if kind != "mix"]
    draw = _KINDS[drawn.choice(kinds)]
    return "".join(draw(drawn) for _ in range(drawn.randint(1, 20)))


_KINDS: Mapping[str, Draw] = {
    "spaced letters": lambda drawn: drawn.choice(ascii_lowercase) + " ",
    "spaced words": lambda drawn: " ".join(_word(drawn)) + "  ",
    "spaced in runs": lambda drawn: " ".join(_word(drawn) + _word(drawn)) + " \n and ",
    "torn words": _torn,
    "lone letters": lambda drawn: f"{drawn.choice('bcdkmnx')} {_word(drawn)} ",
    "look-alikes": lambda drawn: _word(drawn).translate(_CYRILLIC_ALIKE) + " ",
    "combining marks": _marked,
    "marks in a row": lambda drawn: drawn.choice("\u0301\u0323\u0327\u0334\u0345"),
    "ligature of 18": lambda _: "\ufdfa",
    "ligatures apart": lambda _: "\ufdfa ",
    "expanding": lambda drawn: drawn.choice(_expanding()),
    "bidi": _interspersed(_BIDI),
    "zero width": _interspersed(_ZERO_WIDTH),
    "international hosts": _idn,
    "long international hosts": _long_idn,
    "international dots": lambda drawn: drawn.choice(_CYRILLIC) + ".",
    "one word": lambda drawn: drawn.choice(ascii_lowercase),
    "one word in a script": lambda drawn: drawn.choice(_CYRILLIC),
    "dots": lambda _: ".",
    "dotted letters": lambda drawn: drawn.choice(ascii_lowercase) + ".",
    "digits for letters": lambda drawn: _word(drawn).translate(_LEET) + " ",
    "digits in a word": lambda drawn: _word(drawn).translate(_LEET) + drawn.choice("1$@"),
    "signs": lambda drawn: drawn.choice("ab") + drawn.choice("!$@1"),
    "addresses": _address,
    "short addresses": lambda drawn: f"{drawn.choice(ascii_lowercase)}.{_name(drawn)[:2]} ",
    "schemes": lambda _: "http://",
    "mail addresses": lambda drawn: f"{_name(drawn)}@{_name(drawn)}.com ",
    "hashtags": lambda drawn: "#" + _word(drawn) + drawn.choice(["", " "]),
    "mentions": lambda drawn: "@" + _word(drawn) + drawn.choice(["", " "]),
    "emoji": lambda drawn: drawn.choice(_EMOJI) + drawn.choice(["", " ", "a"]),
    "angle brackets": lambda drawn: drawn.choice(["<", "<a ", '<a href="', "<b>", "<a href=x"]),
    "tags": lambda drawn: f'<a href="x.{drawn.choice(_TOP_LEVEL)}">{_word(drawn)}</a>',
    "blanks": lambda drawn: drawn.choice([" ", " ", "\n", "\t", "\u3000"]),
    "ideographs": lambda drawn: chr(drawn.randint(0x4E00, 0x9FFF)),
    "syllables apart": lambda drawn: chr(drawn.randint(0x1100, 0x1112)) + chr(0x1161) + chr(0x11A8),
    "wide letters": lambda drawn: "".join(chr(ord(c) + 0xFEE0) for c in _word(drawn)) + " ",
    "letters of mathematics": lambda drawn: "".join(chr(ord(c) + 0x1D3B9) for c in _word(drawn)),
    "capitals that grow": lambda drawn: drawn.choice("\u0130\u1e9e\u0390\u01f0"),
    "every word the same": lambda _: "buy ",
    "mix": _any_kind,
}
