"""Joins letters with a blank between each: ``F R E E stuff`` gives ``FREE stuff``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from string import ascii_letters, digits

import numpy as np

from feedmill.features.text.byte_rows import Indices, byte_set
from feedmill.features.text.code_points import CodePoints, Flags, code_points, flags_of, text_of
from feedmill.features.text.common_words import is_word, split_runs

SPACED_LETTERS = re.compile(r"(?<!\S)(?:[!-~] ){3,}[!-~](?!\S)")
_MIN_SPACED_FRACTION = 0.6
_MIN_LETTERS = 3
_BLANK = ord(" ")
_IS_LETTER = byte_set(ascii_letters.encode())
_IS_DIGIT = byte_set(digits.encode())
# Letters and the apostrophe, digits, all else: a piece is a run of one kind.
_KINDS = np.full(256, 2, dtype=np.uint8)
_KINDS[_IS_DIGIT] = 1
_KINDS[_IS_LETTER] = _KINDS[ord("'")] = 0


def join_spaced_letters(text: str, without_tags: Callable[[str], str]) -> str:
    """Join letters that stand apart, and split what is joined into words.

    `without_tags` is done to each run of letters once it is joined.
    """
    tokens = text.split()
    if [*map(len, tokens)].count(1) < _MIN_SPACED_FRACTION * len(tokens):
        spans = np.array([run.span() for run in SPACED_LETTERS.finditer(text)])
        return _with_runs(text, spans.reshape(-1, 2), text, spans.reshape(-1, 2), without_tags)
    # Nearly every letter is spaced, so that words are separated by two blanks or more, if at all.
    stripped = text.strip()
    is_in_parts = "  " in stripped
    return _join_all(stripped if is_in_parts else text, without_tags, is_in_parts=is_in_parts)


def _join_all(text: str, without_tags: Callable[[str], str], *, is_in_parts: bool) -> str:
    """Join each run of single characters.

    A part, what lies between two blanks or more, that has nothing else is one word.
    """
    codes = code_points(text)
    is_blank = codes == _BLANK
    edges = np.diff(is_blank, prepend=True, append=True).nonzero()[0]
    starts, ends = edges[0::2], edges[1::2]
    is_single = ends - starts == 1
    begins_part = np.zeros(len(starts), dtype=np.bool_)
    begins_part[0] = True
    if is_in_parts:
        begins_part[1:] = starts[1:] - ends[:-1] > 1
    begins_run = begins_part.copy()
    begins_run[1:] |= is_single[1:] != is_single[:-1]
    firsts = begins_run.nonzero()[0]
    lasts = np.append(firsts[1:], len(starts)) - 1
    is_run = is_single[firsts]
    # Such a run begins a part, and so does what follows it.
    is_whole = is_run & begins_part[firsts] & np.append(begins_part[firsts[1:]], True)
    is_whole &= is_in_parts
    # Of the blanks between tokens one stays, none in a part that is one word.
    is_kept = ~is_blank
    is_kept[ends[:-1]] = True
    run_of = begins_run.cumsum() - 1
    inside = is_whole[run_of[1:]] & ~begins_run[1:]
    is_kept[ends[:-1][inside]] = False
    places = is_kept.cumsum() - is_kept
    of_runs = (is_run & ~is_whole & (lasts - firsts >= _MIN_LETTERS - 1)).nonzero()[0]
    spans = np.stack((starts[firsts[of_runs]], ends[lasts[of_runs]]), axis=1)
    kept_spans = np.stack((places[spans[:, 0]], places[spans[:, 1] - 1] + 1), axis=1)
    return _with_runs(text, spans, text_of(codes[is_kept]), kept_spans, without_tags)


def _with_runs(
    text: str,
    spans: Indices,
    into: str,
    into_spans: Indices,
    without_tags: Callable[[str], str],
) -> str:
    """Put the words of runs of letters, (runs, 2) places in a text, where they stand in another."""
    runs = [text[start:end:2] for start, end in spans.tolist()]
    split = _split(runs, without_tags)
    parts: list[str] = []
    at = 0
    for (start, end), words in zip(into_spans.tolist(), split, strict=True):
        if words is not None:
            parts += (into[at:start], words)
            at = end
    parts.append(into[at:])
    return "".join(parts)


def _split(runs: Sequence[str], without_tags: Callable[[str], str]) -> Sequence[str | None]:
    """Split joined letters, digits and signs into words; a sign stays with what it follows.

    None where there are too few letters.
    """
    if not runs:
        return []
    all_codes = code_points("".join(runs))
    firsts = _firsts(runs)
    letters = np.add.reduceat(flags_of(all_codes, _IS_LETTER, str.isalpha), firsts, dtype=np.int64)
    has_enough = (letters >= _MIN_LETTERS).tolist()
    chosen = [
        without_tags(run) if "<" in run else run
        for run, is_chosen in zip(runs, has_enough, strict=True)
        if is_chosen
    ]
    split = iter(_in_words(chosen)) if chosen else iter(())
    return [next(split) if is_chosen else None for is_chosen in has_enough]


def _in_words(runs: Sequence[str]) -> Sequence[str]:
    joined = "".join(runs)
    codes, firsts = code_points(joined), _firsts(runs)
    begins_piece = np.zeros(len(codes), dtype=np.bool_)
    begins_piece[firsts] = True
    kinds = _KINDS.take(np.minimum(codes, 255))
    begins_piece[1:] |= kinds[1:] != kinds[:-1]
    pieces = begins_piece.nonzero()[0]
    of_first = codes.take(pieces)
    has_letter = flags_of(of_first, _IS_LETTER, str.isalpha)
    is_digits = np.minimum.reduceat(flags_of(codes, _IS_DIGIT, str.isdigit), pieces)
    begins_word = np.zeros(len(codes), dtype=np.bool_)
    begins_word[pieces[has_letter | is_digits]] = True
    ends = np.append(pieces[1:], len(codes))
    is_english = has_letter & (kinds.take(pieces) == 0)
    _split_pieces(joined, codes, pieces[is_english], ends[is_english], begins_word)
    begins_word[firsts] = False
    before = begins_word.cumsum()
    separated = np.full(len(codes) + int(before[-1]), _BLANK, dtype=codes.dtype)
    separated[np.arange(len(codes)) + before] = codes
    text = text_of(separated)
    bounds = np.append(firsts + before[firsts], len(separated))
    return [text[start:end] for start, end in pairwise(bounds.tolist())]


def _split_pieces(
    joined: str, codes: CodePoints, starts: Indices, ends: Indices, begins_word: Flags
) -> None:
    """Say in `begins_word` where words begin within those pieces that are no word themselves."""
    bounds = zip(starts.tolist(), ends.tolist(), strict=True)
    is_split = np.array([not is_word(joined[start:end]) for start, end in bounds], dtype=np.bool_)
    starts, ends = starts[is_split], ends[is_split]
    if not len(starts):
        return
    sizes = ends - starts
    firsts = sizes.cumsum() - sizes
    places = np.arange(int(sizes.sum())) + (starts - firsts).repeat(sizes)
    letters = codes.take(places).astype(np.uint8)
    letters |= np.where(letters == ord("'"), 0, ord(" ")).astype(np.uint8)
    begins_word[places[split_runs(letters, firsts)]] = True


def _firsts(runs: Sequence[str]) -> Indices:
    sizes = np.array([*map(len, runs)])
    firsts: Indices = sizes.cumsum() - sizes
    return firsts
