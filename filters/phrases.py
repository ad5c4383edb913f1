"""Reads texts as words, and finds the phrases of rules and lists in them.

Words are letters and digits, without case; blanks, punctuation and emoji between two words do not
count.  In a phrase that has symbols (`$`, an emoji) each symbol is a word too.

A run of as many words as phrases have gets a hash of 64 bits, its key.  A bitmap, then a search in
the sorted keys, leave nearly only true phrases.  A key is no proof: a list compares the digests of
the runs that are left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from unicodedata import category

import numpy as np
import numpy.typing as npt

from feedmill.features.text.byte_rows import (
    CHUNK_BYTES,
    ByteHashes,
    Hashes,
    Indices,
    byte_set,
)
from feedmill.features.text.code_points import CharacterTable, code_points, text_of
from feedmill.features.text.disguised_words import LEET
from feedmill.features.text.normalise import HIDDEN, compatible, normalise, remembered

# In scripts without blanks each character is a word, so that a phrase is found within a sentence.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
# Combining marks belong to their letter, but `\w` does not match them.
_MARKS = "".join(c for c in map(chr, range(0x300, 0x1D00)) if category(c)[0] == "M")
_PUNCTUATION = (
    "!-#%-*,-/:;?@\\[-\\]_{}\u00a1\u00a7\u00ab\u00b6\u00b7\u00bb\u00bf"
    "\u2000-\u206f\u3000-\u303f\ufe00-\ufe0f"
)
_HIDDEN = re.compile(f"[{HIDDEN}]")
# Undoing disguises costs more than all else here.  In ASCII there may be one only where signs stand
# beside letters, letters stand apart, or there is a tag.
_SIGNS = LEET.decode()
_SIGN = re.compile(f"[{_SIGNS}<]")
_SIGN_BESIDE_LETTER = re.compile(f"[A-Za-z][{_SIGNS.replace('!', '')}]|[{_SIGNS}][A-Za-z]|<")
_APART = re.compile(r"\s\S\s\S\s")
_LETTER = re.compile(f"[^\\W_{_UNSPACED}]")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_SYMBOL = re.compile(f"[^\\s\\w{_PUNCTUATION}{_MARKS}]")
_LETTER_BIT, _UNSPACED_BIT, _MARK_BIT, _SYMBOL_BIT = 1, 2, 4, 8
# In ASCII a table and `split` find the same words as `_WORD`, four times as fast.
_ASCII_WORDS = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)}

# Each number of words that occurs costs a look-up for each word of a post.
MAX_PHRASE_WORDS = 32
WordCounts = npt.NDArray[np.uint8]

# No word and no symbol has one of these two bytes.
_WORD_END, _ROW_END = b" ", b"\n"
_IS_END = byte_set(_WORD_END + _ROW_END)
# Of 32 to 64 bits a phrase one is set: at most a thirty-second of other runs get to the search.
_BITMAP_BYTES_A_PHRASE = 4


def visible(text: str) -> str:
    """Return the text in Unicode's compatibility form, without invisible characters."""
    return text if text.isascii() else compatible(_HIDDEN.sub("", text))


def readings(text: str) -> tuple[str, ...]:
    """Return the texts in which phrases are sought: as it is seen and, if another, undisguised."""
    seen = visible(text)
    if not _may_be_disguised(seen):
        return (seen,)
    undisguised = normalise(text)
    return (seen,) if undisguised == seen else (seen, undisguised)


def words(text: str) -> list[str]:
    """Return the words of a visible text."""
    if text.isascii():
        return text.translate(_ASCII_WORDS).split()
    return _words_beyond_ascii(text).split()


def line_of_words(text: str) -> str:
    """Return the words of a visible text, with a blank between them."""
    return " ".join(words(text)) if text.isascii() else _words_beyond_ascii(text)


def has_symbols(text: str) -> bool:
    """Return whether a visible text may have symbols; without any it has its `words` only."""
    return _SYMBOL.search(text) is not None


@remembered
def _words_beyond_ascii(text: str) -> str:
    return _separated(text.casefold(), _UNSPACED_BIT)


@remembered
def line_with_symbols(text: str) -> str:
    """Return the words and symbols of a visible text, with a blank between them."""
    return _separated(text.casefold(), _UNSPACED_BIT | _SYMBOL_BIT)


def _separated(text: str, alone: int) -> str:
    """Return runs of letters with the marks behind them, and what is a word by itself.

    With a blank between.
    """
    codes = code_points(text)
    kinds = _KINDS.of(codes)
    is_run, is_alone = kinds & _LETTER_BIT != 0, kinds & alone != 0
    is_mark = kinds & _MARK_BIT != 0
    if is_mark.any():
        # The place behind the last character before each that is no mark; 0 stands for none.
        last = np.maximum.accumulate(np.where(is_mark, 0, np.arange(1, len(codes) + 1)))
        is_behind = is_mark & np.append(False, is_run).take(last)
        is_run |= is_behind
        is_alone &= ~is_behind
    begins = is_alone.copy()
    begins[:1] |= is_run[:1]
    begins[1:] |= is_run[1:] > is_run[:-1]
    is_kept = is_run | is_alone
    places = (is_kept.astype(np.int64) + begins).cumsum()[is_kept] - 1
    separated = np.full(int(places[-1]) + 1 if len(places) else 0, ord(" "), dtype=codes.dtype)
    separated[places] = codes[is_kept]
    return text_of(separated)


def _kind(char: str) -> int:
    kind = _LETTER_BIT * (_LETTER.match(char) is not None)
    kind |= _UNSPACED_BIT * (_IS_UNSPACED.match(char) is not None)
    kind |= _MARK_BIT * (char in _MARKS)
    return kind | _SYMBOL_BIT * (_SYMBOL.match(char) is not None)


_KINDS = CharacterTable(_kind, np.uint8)


def phrase_words(phrase: str) -> tuple[Sequence[str], bool]:
    """Return the words of a phrase, and whether there are symbols among them."""
    seen = visible(phrase)
    plain, everything = words(seen), line_with_symbols(seen).split()
    return everything, plain != everything


def _may_be_disguised(text: str) -> bool:
    if not text.isascii() or _APART.search(text):
        return True
    return bool(_SIGN.search(text) and _SIGN_BESIDE_LETTER.search(text))


class PhraseKeys:
    """What finds the phrases of one list; it never changes.

    Parameters
    ----------
    keys
        Of the phrases, ascending: (n,) uint64, n > 0.
    word_counts, symbol_word_counts
        How many words phrases without symbols have, and phrases with symbols; ascending, each
        once, from 1 to `MAX_PHRASE_WORDS`.
    """

    def __init__(
        self, keys: Hashes, word_counts: WordCounts, symbol_word_counts: WordCounts
    ) -> None:
        self.keys = keys
        self.word_counts = word_counts
        self.symbol_word_counts = symbol_word_counts
        # How far the first bits of a key are shifted to be the number of a byte of the bitmap.
        self._shift = 64 - (_BITMAP_BYTES_A_PHRASE * len(keys) - 1).bit_length()
        self._bitmap = np.zeros(1 << (64 - self._shift), dtype=np.uint8)
        at, bits = self._byte_of(keys), self._bit_of(keys)
        # The keys are sorted, so that those of one byte stand together.
        firsts = np.flatnonzero(np.diff(at, prepend=-1))
        self._bitmap[at[firsts]] = np.bitwise_or.reduceat(bits, firsts)

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        return self.keys.nbytes + self._bitmap.nbytes

    def find(self, keys: Hashes) -> Indices:
        """Return the places of those keys that are in the list: (found,) for (…,), flattened."""
        flat = keys.ravel()
        maybe = np.flatnonzero(self._bitmap.take(self._byte_of(flat)))
        if not len(maybe):
            return maybe
        of_these = flat[maybe]
        has_bit = self._bitmap[self._byte_of(of_these)] & self._bit_of(of_these)
        maybe = maybe[has_bit != 0]
        of_these = flat[maybe]
        at = np.searchsorted(self.keys, of_these)
        found: Indices = maybe[self.keys.take(at, mode="clip") == of_these]
        return found

    def _byte_of(self, keys: Hashes) -> Indices:
        return (keys >> np.uint64(self._shift)).view(np.int64)

    def _bit_of(self, keys: Hashes) -> npt.NDArray[np.uint8]:
        lower = (keys >> np.uint64(self._shift - 3)).astype(np.uint8) & np.uint8(7)
        return np.uint8(1) << lower


def keys_of(phrases: Sequence[bytes]) -> Hashes:
    """Return the keys of phrases, each of words with a blank between them: (n,) for n."""
    found = [np.zeros(0, dtype=np.uint64)]
    for _, chunk in _chunks((0, phrase) for phrase in phrases):
        lengths = np.fromiter(map(len, chunk), dtype=np.int64, count=len(chunk))
        ends = np.cumsum(lengths + 1) - 1
        buffer = np.frombuffer(_ROW_END.join(chunk), dtype=np.uint8)
        found.append(ByteHashes(buffer).hashes(ends - lengths, ends))
    return np.concatenate(found)


@dataclass(frozen=True, eq=False)
class WordRuns:
    """The runs of words of some texts, and the key of each.

    Attributes
    ----------
    owners
        For each row of words the number of its text.
    buffer
        The rows, one after the other.
    starts, ends
        Of each word in the buffer: (words,).
    word_counts
        How many words runs have, ascending.
    keys
        (counts, words): of the run that begins with a word and has so many words.  Those that
        reach into another row are of no phrase.
    """

    owners: Sequence[int]
    buffer: bytes
    starts: Indices
    ends: Indices
    word_counts: Sequence[int]
    keys: Hashes

    def phrases(self, places: Indices) -> Iterator[tuple[int, bytes]]:
        """Yield text and words, with a blank between them, of runs at places of the flat `keys`.

        A run that a text has many times is yielded once for each row of its words.
        """
        counts, firsts = np.divmod(places, len(self.starts))
        starts = self.starts[firsts]
        lasts = np.minimum(firsts + np.array(self.word_counts)[counts], len(self.ends)) - 1
        row_ends = np.flatnonzero(np.frombuffer(self.buffer, dtype=np.uint8) == _ROW_END[0])
        rows = np.searchsorted(row_ends, starts)
        keys = self.keys.ravel()[places]
        order = np.lexsort((keys, rows))
        is_first = np.ones(len(order), dtype=np.bool_)
        is_first[1:] = (np.diff(rows[order]) != 0) | (np.diff(keys[order]) != 0)
        for at in order[is_first].tolist():
            yield self.owners[rows[at]], self.buffer[starts[at] : self.ends[lasts[at]]]


class RunFinder:
    """Reads texts as runs of as many words as phrases of some lists have."""

    def __init__(self, lists: Sequence[PhraseKeys]) -> None:
        self._plain = _union([keys.word_counts for keys in lists])
        self._with_symbols = _union([keys.symbol_word_counts for keys in lists])

    def runs(self, texts: Sequence[str]) -> Iterator[WordRuns]:
        """Yield the runs of words of texts, in chunks: a text may have runs in several of them."""
        read = [(owner, reading) for owner, text in enumerate(texts) for reading in readings(text)]
        if self._plain:
            plain = ((owner, encode(line_of_words(seen))) for owner, seen in read)
            for owners, rows in _chunks(plain):
                yield _runs(owners, rows, self._plain)
        if self._with_symbols:
            some = ((owner, seen) for owner, seen in read if has_symbols(seen))
            with_symbols = ((owner, encode(line_with_symbols(seen))) for owner, seen in some)
            for owners, rows in _chunks(with_symbols):
                yield _runs(owners, rows, self._with_symbols)


def _runs(owners: Sequence[int], rows: Sequence[bytes], word_counts: Sequence[int]) -> WordRuns:
    buffer = _ROW_END.join(rows)
    codes = np.frombuffer(buffer, dtype=np.uint8)
    bounds = np.flatnonzero(_IS_END.take(codes))
    starts, ends = np.empty((2, len(bounds) + 1), dtype=np.int64)
    starts[0], starts[1:] = 0, bounds + 1
    ends[:-1], ends[-1] = bounds, len(buffer)
    hashes = ByteHashes(codes)
    # Beyond the end of the buffer a run is cut, and is the one of fewer words.
    sums = np.full(len(ends) + word_counts[-1], hashes.sums[-1])
    sums[: len(ends)] = hashes.sums[ends]
    at_ends = np.empty((len(word_counts), len(starts)), dtype=np.uint64)
    for row, count in enumerate(word_counts):
        at_ends[row] = sums[count - 1 : count - 1 + len(starts)]
    return WordRuns(owners, buffer, starts, ends, word_counts, hashes.shifted(at_ends, starts))


def _chunks(
    rows: Iterator[tuple[int, bytes]],
) -> Iterator[tuple[list[int], list[bytes]]]:
    """Gather rows, each with its owner, into chunks of about `CHUNK_BYTES`, at least one each."""
    owners: list[int] = []
    chunk: list[bytes] = []
    size = 0
    for owner, row in rows:
        if chunk and size + len(row) > CHUNK_BYTES:
            yield owners, chunk
            owners, chunk, size = [], [], 0
        owners.append(owner)
        chunk.append(row)
        size += len(row) + 1
    if chunk:
        yield owners, chunk


def encode(text: str) -> bytes:
    """Return a text in UTF-8; a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace")


def joined(found: Sequence[str]) -> bytes:
    """Return words with a blank between them, as keys and digests are of them."""
    return encode(_WORD_END.decode().join(found))


def _union(word_counts: Sequence[WordCounts]) -> list[int]:
    return sorted(set().union(*(counts.tolist() for counts in word_counts)))
