"""Undoes three disguises of words: leet, letters that stand apart, and words that are torn.

``fr33`` gives ``free``, ``F R E E stuff`` gives ``FREE stuff``, ``mo n ey`` gives ``money``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from string import ascii_letters, digits

import numpy as np

from feedmill.features.text.byte_rows import Bytes, Indices, byte_set
from feedmill.features.text.code_points import (
    CodePoints,
    Flags,
    ascii_flags,
    code_points,
    flags_of,
    text_of,
)
from feedmill.features.text.common_words import (
    LONGEST_WORD,
    UNIT,
    UNKNOWN_COSTS,
    Costs,
    are_words,
    is_word,
    split_runs,
    unknown_cost,
    word_costs,
)

LEET = b"4@31!05$7"
_ADDRESS = re.compile(r"https?://\S+|www\.\S+")
_INSIDE = "A-Za-z0-9@$!"
# A token that has letters, and a sign that is no `!` at its end.  It is tried from its start alone,
# and all is possessive, so that a long one takes linear time.
_TOKEN = re.compile(
    f"(?<![{_INSIDE}])(?=[0-9@$!]*+[A-Za-z])"
    f"(?=[A-Za-z2689]*+(?:!++[A-Za-z0-9@$]|[@$013457]))[{_INSIDE}]++"
)
_SIGNS = re.compile(f"[{LEET.decode()}]+")
_THREE_DIGITS = re.compile("[0-9]{3}")
_LETTERS_FOR = str.maketrans(LEET.decode(), "aaeiiosst")
# Of all tokens: so few are read one by one in less time than numpy takes.
_FEW_CHARACTERS = 256
_IS_LETTER = byte_set(ascii_letters.encode())
_IS_DIGIT = byte_set(digits.encode())
_IS_SIGN = byte_set(LEET)
# What is neither a letter nor a sign that may be one.
_IS_OTHER = byte_set((ascii_letters + digits + "@$!").encode()) & ~_IS_LETTER & ~_IS_SIGN
_LETTER_FOR = np.arange(256, dtype=np.uint8)
_LETTER_FOR[list(LEET)] = list(b"aaeiiosst")
_BANG, _AT = ord("!"), ord("@")
_MIN_AFTER = 3
SPACED_LETTERS = re.compile(r"(?<!\S)(?:[!-~] ){3,}[!-~](?!\S)")
_MIN_SPACED_FRACTION = 0.6
_MIN_LETTERS = 3
_BLANK = ord(" ")
# Letters and the apostrophe, digits, all else: a piece is a run of one kind.
_KINDS = np.full(256, 2, dtype=np.uint8)
_KINDS[_IS_DIGIT] = 1
_KINDS[_IS_LETTER] = _KINDS[ord("'")] = 0
# A letter behind a blank and before another that is no word by itself.  With so many of them, and
# such a fraction of all tokens, a text counts as torn.
_LONE_LETTER = re.compile(r"[\t-\r\x1c- ][B-HJ-Zb-hj-z](?![^\t-\r\x1c- ])")
MIN_LONE_LETTERS, _MIN_LONE_FRACTION = 2, 1 / 8
_MAX_PIECES, _MAX_TOKENS = 8, 1_000
_PUNCTUATION = ".,:;!?\"'()"
# Words of one or two letters, by their letters as a number; the list of common words also has
# initials and abbreviations.
_IS_SHORT_WORD = np.zeros(1 << 16, dtype=np.bool_)
_IS_SHORT_WORD[
    [
        int.from_bytes(word)
        for word in (
            *(b"a", b"i", b"am", b"an", b"as", b"at", b"be", b"by", b"do", b"go", b"he", b"hi"),
            *(b"if", b"in", b"is", b"it", b"me", b"my", b"no", b"of", b"oh", b"ok", b"on", b"or"),
            *(b"so", b"to", b"up", b"us", b"we"),
        )
    ]
] = True
_NO_LETTERS = np.zeros(2, dtype=np.uint8)
# Of joining pieces that are all words by themselves.
_JOINED_WORDS_COST = 6 * UNIT


def undo_leet(text: str) -> str:
    """Replace signs by letters in tokens of letters, digits and signs; not in addresses."""
    if not _SIGNS.search(text):
        return text
    without_addresses = _ADDRESS.sub(lambda address: " " * len(address[0]), text)
    spans = [token.span() for token in _TOKEN.finditer(without_addresses)]
    if sum(end - start for start, end in spans) > _FEW_CHARACTERS:
        return _undone_at(text, np.array(spans))
    parts: list[str] = []
    at = 0
    for start, end in spans:
        parts += (text[at:start], _undone(text[start:end]))
        at = end
    return "".join([*parts, text[at:]])


def _undone(token: str) -> str:
    core = token.rstrip("!")
    is_name = core[0] == "@" and is_word(core[1:])
    for guess in () if is_name else (token, core):
        word = guess.translate(_LETTERS_FOR)
        if word.isalpha() and is_word(word):
            return word + token[len(word) :]
    if _THREE_DIGITS.search(core):
        return token
    return _SIGNS.sub(_letters_for, core) + token[len(core) :]


def _letters_for(signs: re.Match[str]) -> str:
    """Read signs behind letters as letters, or a single one before at least `_MIN_AFTER`."""
    found = signs[0]
    before, after = signs.string[: signs.start()], signs.string[signs.end() :]
    is_among = before[-1:].isalpha() and (not after or after[0].isalpha())
    opens = not before and len(found) == 1 and found != "@" and after[:1].isalpha()
    if is_among or (opens and sum(map(str.isalpha, after)) >= _MIN_AFTER):
        return found.translate(_LETTERS_FOR)
    return found


def _undone_at(text: str, spans: Indices) -> str:
    """Return what `undo_leet` does of many tokens, (tokens, 2) places: all at the same time."""
    codes = code_points(text + " ").copy()
    # Of all else one character behind each token is looked at, which is not among its own.
    sizes = spans[:, 1] - spans[:, 0]
    ends = (sizes + 1).cumsum() - 1
    starts = ends - sizes
    places = np.arange(ends[-1] + 1) + (spans[:, 0] - starts).repeat(sizes + 1)
    codes[places] = _undone_tokens(codes.take(places), starts, ends)
    return text_of(codes)[:-1]


def _undone_tokens(codes: CodePoints, starts: Indices, ends: Indices) -> CodePoints:
    letters = _LETTER_FOR.take(np.minimum(codes, 255))
    # The last character of each token that is no `!`.
    places = np.where(codes != _BANG, np.arange(1, len(codes) + 1), 0)
    cores = np.maximum.accumulate(places).take(ends - 1)
    made = _words_made(codes, letters, starts, ends, cores)
    is_changed = _marked(len(codes), starts, made)
    rest = (made == starts) & ~_has_three_digits(codes, starts, cores)
    is_changed |= _signs_among_letters(codes, starts[rest], cores[rest])
    is_changed &= letters != codes
    return np.where(is_changed, letters, codes)


def _words_made(
    codes: CodePoints, letters: Bytes, starts: Indices, ends: Indices, cores: Indices
) -> Indices:
    """Return up to where each token is a common word with letters for its signs; else its start."""
    others = ascii_flags(codes, _IS_OTHER)
    small = letters | np.uint8(0x20)
    is_name = (codes[starts] == _AT) & (
        _counts(ascii_flags(codes, _IS_LETTER), starts + 1, cores) == cores - starts - 1
    )
    named = is_name.nonzero()[0]
    is_name[named] = are_words(small, starts[named] + 1, cores[named])
    made = starts.copy()
    for last, is_new in ((cores, ~is_name), (ends, ~is_name & (ends > cores))):
        may = ((_counts(others, starts, last) == 0) & is_new).nonzero()[0]
        may = may[are_words(small, starts[may], last[may])]
        made[may] = last[may]
    return made


def _has_three_digits(codes: CodePoints, starts: Indices, ends: Indices) -> Flags:
    is_digit = ascii_flags(codes, _IS_DIGIT)
    begins = np.zeros(len(codes), dtype=np.bool_)
    begins[:-2] = is_digit[:-2] & is_digit[1:-1] & is_digit[2:]
    return _counts(begins, starts, np.maximum(ends - 2, starts)) > 0


def _signs_among_letters(codes: CodePoints, starts: Indices, ends: Indices) -> Flags:
    """Say which signs of tokens stand behind letters, or alone before at least `_MIN_AFTER`."""
    size = len(codes)
    is_inside = np.zeros(size + 1, dtype=np.bool_)
    is_inside[:size] = _marked(size, starts, ends)
    is_letter = ascii_flags(codes, _IS_LETTER)
    is_sign = ascii_flags(codes, _IS_SIGN) & is_inside[:size]
    edges = np.diff(is_sign, prepend=False, append=False).nonzero()[0]
    begins, behind = edges[0::2], edges[1::2]
    # Behind the last character, and before the first one, stands none.
    letter_at = np.append(is_letter, False) & is_inside
    before, after = letter_at[begins - 1], letter_at[behind]
    is_among = before & (after | ~is_inside[behind])
    token_ends = ends.take(starts.searchsorted(begins, side="right") - 1, mode="clip")
    opens = ~is_inside[begins - 1] & (behind - begins == 1) & (codes[begins] != _AT) & after
    opens &= _counts(is_letter, behind, np.maximum(token_ends, behind)) >= _MIN_AFTER
    is_one = is_among | opens
    return _marked(size, begins[is_one], behind[is_one])


def _counts(flags: Flags, starts: Indices, ends: Indices) -> Indices:
    """Count the flags from each start to before the end."""
    before = np.zeros(len(flags) + 1, dtype=np.int64)
    flags.cumsum(out=before[1:])
    counts: Indices = before.take(ends) - before.take(starts)
    return counts


def _marked(size: int, starts: Indices, ends: Indices) -> Flags:
    """Return flags that are set from each start to before its end; none of these overlap."""
    steps = np.zeros(size + 1, dtype=np.int8)
    steps[starts] += 1
    steps[ends] -= 1
    return steps[:-1].cumsum(dtype=np.int8).view(np.bool_)


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


def is_torn(text: str) -> bool:
    """Say whether so many letters stand alone that words seem to be torn by blanks."""
    lone = len(_LONE_LETTER.findall(f" {text}"))
    return lone >= MIN_LONE_LETTERS and lone >= _MIN_LONE_FRACTION * (text.count(" ") + 1)


def mend_torn_words(text: str) -> str:
    """Join neighbouring tokens to the most likely common words."""
    every = text.split(" ", _MAX_TOKENS)
    tokens, rest = every[:_MAX_TOKENS], every[_MAX_TOKENS:]
    alone, joined = _costs(tokens)
    sums, starts = [0], [0]
    for end, cost in enumerate(alone, 1):
        least, start = sums[-1] + cost, end - 1
        # The longest last, so that it is taken of equal ones.
        for first, more in joined.get(end, ()):
            if sums[first] + more <= least:
                least, start = sums[first] + more, first
        sums.append(least)
        starts.append(start)
    words, end = [], len(tokens)
    while end:
        words.append("".join(tokens[starts[end] : end]))
        end = starts[end]
    return " ".join([*reversed(words), *rest])


def _costs(tokens: Sequence[str]) -> tuple[list[int], Mapping[int, Sequence[tuple[int, int]]]]:
    """Return what tokens cost.

    Returns
    -------
    What each costs by itself, 0 if it is not made of letters, such as a number.  By the end of
    two tokens or more that make a word: where those start, and what they cost together.
    """
    cores = [token.strip(_PUNCTUATION) for token in tokens]
    cores = [core.lower() if core.isascii() and core.isalpha() else "" for core in cores]
    # Of tokens that are joined only the first may begin with punctuation, and the last end so.
    sizes = np.array([*map(len, cores)])
    begins = (sizes > 0) & [token[:1].isalpha() for token in tokens]
    ends = (sizes > 0) & [token[-1:].isalpha() for token in tokens]
    lasts = sizes.cumsum()
    firsts = lasts - sizes
    letters = "".join(cores)
    costs = _word_costs(np.frombuffer(letters.encode(), dtype=np.uint8), firsts)
    within = np.minimum(sizes, LONGEST_WORD)
    alone = costs[np.maximum(within, 1) - 1, np.arange(len(sizes))]
    is_word = (alone < UNKNOWN_COSTS.take(within)) & (sizes <= LONGEST_WORD)
    long = (sizes > LONGEST_WORD).nonzero()[0]
    alone[long] = [*map(unknown_cost, sizes[long].tolist())]
    alone *= sizes > 0
    return alone.tolist(), _joined(costs, firsts, lasts, begins[1:] & ends[:-1], is_word)


def _word_costs(letters: Bytes, firsts: Indices) -> Costs:
    """As `word_costs`, with few words of one letter or two."""
    costs = word_costs(letters, firsts)
    padded = np.append(letters, _NO_LETTERS).astype(np.uint16)
    single = padded.take(firsts)
    two = single << 8 | padded.take(firsts + 1)
    for row, letters_of in enumerate((single, two)):
        costs[row, ~_IS_SHORT_WORD.take(letters_of)] = UNKNOWN_COSTS[row + 1]
    return costs


def _joined(
    costs: Costs, firsts: Indices, lasts: Indices, can_join: Flags, is_word: Flags
) -> Mapping[int, Sequence[tuple[int, int]]]:
    """Return what `_costs` does of tokens that are joined.

    Parameters
    ----------
    costs
        (`LONGEST_WORD`, tokens) of the words that begin with a token.
    firsts, lasts
        (tokens,) where letters of each begin and end.
    can_join
        (tokens - 1,) whether it is made of letters like the next, with nothing between.
    is_word
        (tokens,) whether it is a word by itself.
    """
    found: dict[int, list[tuple[int, int]]] = {}
    may, all_words = np.ones(len(firsts), dtype=np.bool_), is_word
    for more in range(1, _MAX_PIECES):
        may = may[: len(firsts) - more] & can_join[more - 1 :]
        all_words = all_words[: len(may)] & is_word[more:]
        sizes = lasts[more:] - firsts[: len(may)]
        at = (may & (sizes <= LONGEST_WORD)).nonzero()[0]
        if not len(at):
            break
        of_words = costs[sizes[at] - 1, at]
        totals = of_words + _JOINED_WORDS_COST * all_words[at]
        is_one = of_words < UNKNOWN_COSTS.take(sizes[at])
        at, totals = at[is_one], totals[is_one]
        for start, total in zip(at.tolist(), totals.tolist(), strict=True):
            found.setdefault(start + more + 1, []).append((start, total))
    return found
