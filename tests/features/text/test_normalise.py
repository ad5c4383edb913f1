"""What somebody writes to keep a reader busy is read in as few steps as other texts."""

import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.events import post
from builders.hostile_texts import hostile_texts, ordinary_text
from builders.slow_deobfuscation import slowly_deobfuscated
from feedmill.features.hosts import hosts_of
from feedmill.features.text.common_words import WINDOW_LETTERS, is_word
from feedmill.features.text.ngrams import TextBatch
from feedmill.features.text.normalise import (
    MOST_CHARACTERS,
    PHRASE_SIGNS,
    compatible,
    deobfuscate,
    normalise,
    normalise_characters,
    remembered,
)
from feedmill.filters.phrases import line_with_symbols, readings

KINDS = [*hostile_texts(1)]


def calls_of(run: Callable[[], object]) -> int:
    """Return how many functions were called, those of C too: what Python does by itself."""
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def _read(text: str) -> None:
    assert TextBatch([text]).chunks
    for reading in readings(text):
        line_with_symbols(reading)
    assert hosts_of(post(text=text)) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_read_letter_by_letter(kind: str) -> None:
    first, second = (hostile_texts(2_500, seed)[kind] for seed in (1, 2))
    # What is looked up once in the life of a process is looked up now.
    _read(first)
    # Torn words are mended token by token, of a text 1,000 at most.
    most = 25 if kind in ("torn words", "lone letters") else 5
    assert calls_of(lambda: _read(second)) < most * len(second)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(KINDS).flatmap(
        lambda kind: st.tuples(st.integers(0, 10_000), st.integers(1, 400)).map(
            lambda drawn: hostile_texts(drawn[1], drawn[0])[kind]
        )
    )
    | st.text(alphabet="ab1!$@ 0e<>/é.,'mony", max_size=80)
)
def test_disguises_are_undone_as_letter_by_letter(text: str) -> None:
    text = normalise_characters(text)
    assert deobfuscate(text) == slowly_deobfuscated(text)


def test_letters_of_real_words_are_split_as_without_windows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    letters = "".join(filter(str.isalpha, ordinary_text(4_000)))
    assert len(letters) > 20 * WINDOW_LETTERS
    spaced = " ".join(letters)
    in_windows = deobfuscate(spaced)
    monkeypatch.setattr("feedmill.features.text.common_words.WINDOW_LETTERS", len(letters))
    # With a blank, as what was made of the other text is remembered.
    assert deobfuscate(f"{spaced} ").strip() == in_windows


@pytest.mark.timeout(60)
@pytest.mark.parametrize("marks", ["\u0301\u0323", "\u0345\u0334\u0327", "\U0001d165\u0300"])
def test_marks_in_a_row_are_put_in_order_in_linear_time(marks: str) -> None:
    assert len(compatible("a" + marks * 100_000)) > len(marks) * 90_000


def test_thirty_marks_and_fewer_are_read_as_unicode_has_it() -> None:
    text = "a" + "\u0301\u0323" * 15 + "b" + "\u0327\u0301" * 14
    assert compatible(text) == unicodedata.normalize("NFKC", text)


@given(
    st.integers(100, 130),
    st.text("ab<\u00e9\uff21\u1100\u1161\u11a8\u0301\u0323\u0338\u09be", min_size=30),
    st.lists(st.integers(0, 160), max_size=2),
)
def test_a_long_text_has_the_form_that_unicode_has(
    length: int, joining: str, blanks: Sequence[int]
) -> None:
    # What joins the letters before it stands everywhere, blanks here and there.
    text = "a" * length + joining
    for at in blanks:
        text = f"{text[:at]} {text[at:]}"
    assert compatible(text) == unicodedata.normalize("NFKC", text)


def test_signs_for_phrases_are_spelled_out_where_they_are_few() -> None:
    few, many = "\ufdfa " * 16, "\ufdfa" * 10_000 + " free money"
    assert compatible(few) == unicodedata.normalize("NFKC", few)
    assert len(compatible(many)) < 2 * len(many)
    assert compatible(many).endswith(" free money")


def test_all_long_signs_for_phrases_are_known() -> None:
    every = map(chr, [*range(0xA0, 0xD800), *range(0xE000, 0x110000)])
    long = {c for c in every if len(unicodedata.normalize("NFKC", c).encode()) > 6}
    assert not [c for c in long if not re.match(f"[{PHRASE_SIGNS}]", c)]


def test_what_is_remembered_is_bounded() -> None:
    made: list[str] = []

    @remembered
    def doubled(text: str) -> str:
        made.append(text)
        return text + text

    text = "x" * (MOST_CHARACTERS // 10)
    assert doubled(text) == doubled(text) == text + text
    assert made == [text]
    for number in range(4):
        doubled(f"{number}{text}")
    assert doubled(text) == text + text
    assert made.count(text) == 2


SENTENCE = "subscribe to my channel and get free money now"


@pytest.mark.parametrize(
    ("disguised", "read"),
    [
        ("5ub5crib3 t0 my ch4nn3l 4nd g3t fr33 m0ney n0w", SENTENCE),
        ("$ubscribe to my ch@nnel and get fr33 mon3y now", SENTENCE),
        ("ѕubѕсrіbе tо mу сhаnnеl аnd gеt frее mоnеу nоw", SENTENCE),  # noqa: RUF001 - meant
        ("sub\u200bscribe to my chan\u200bnel and get fr\u200bee mon\u200bey now", SENTENCE),
        ("   ".join(" ".join(word) for word in SENTENCE.split()), SENTENCE),
        (" ".join(" ".join(word) for word in SENTENCE.split()), SENTENCE),
        ("subscribe😀to😀my😀channel🔥and💰get😀free😀money😀now", SENTENCE),
        ("subscribe 😀 to 🎁 my channel 🔥 and get free money 💰 now", SENTENCE),
        ("buy F R E E stuff", "buy FREE stuff"),
        ("s ubscri be to m y ch ann el and get f ree mo n ey now", SENTENCE),
        ('Wa tch "m y vid eo", p lease ! I t is f ree', 'Watch "my video", please ! It is free'),
        ('a<br />b <a href="http://x.org/a">c</a>', "a  b  http://x.org/a c  "),
        ('so good <a href="http://v.org/w?v=1&t=2m3s">2:03</a> yes', "so good 2:03 yes"),
        ("ＦＲＥＥ 𝗙𝗥𝗘𝗘", "FREE FREE"),  # noqa: RUF001 - meant
    ],
)
def test_disguises_are_undone(disguised: str, read: str) -> None:
    assert normalise(disguised) == read


@pytest.mark.parametrize(
    "text",
    [
        "Call 0800 123456 before 5pm, 1st and 2nd of May, 150ppm, $500!",
        "win!! really?! no way!!!",
        "@katy said hi to @bob",
        "I <3 this & 2 < 3 > 1",
        "I a m ok",
        "J R R Tolkien and C S Lewis",
        "c u later m8, r u ok, b safe n call",
        "x = y + z, check out in to",
        "covid19 and 7-zip in 2026",
        "https://m0ney.example.org/fr33?a=1",
        "",
    ],
)
def test_what_is_no_disguise_stays(text: str) -> None:
    assert normalise(text) == text


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet="ab1!$@ 0e<>/😀é\u200b", max_size=60))
def test_texts_in_a_batch_read_as_alone_and_as_the_slow_way_has_it(text: str) -> None:
    assert normalise(text) == deobfuscate(normalise_characters(text))
    (chunk,) = TextBatch([text]).chunks
    assert bytes(chunk.raw.buffer[1 : chunk.raw.ends[0] - 1]).decode() == normalise(text)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a  \U0001f600 \U0001f600  b\U0001f600c\u2190", "a  b c "),
        (" \U0001f600a", " a"),
        ("\U0001f600  \u00e9", " \u00e9"),
    ],
)
def test_a_run_of_emoji_becomes_one_blank(text: str, read: str) -> None:
    assert normalise_characters(text) == read


HOSTILE = (
    *("<" * 20_000, "<a " * 7_000, " " * 20_000, "a " * 10_000, "1a" * 10_000, "😀 " * 10_000),
    *('<a href="x">1:00' * 1_300, "<a " + "x" * 19_000),
    *("b " * 10_000, "sub scri be s " * 1_400),
    *("a!" * 10_000, "<a href=" * 2_500, "ab" * 10_000, "w w w . " * 2_500),
    *("fr33 " + "1" * 200_000, "fr33 " + "@" * 200_000, "m0ney " + "4!" * 100_000),
)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_is_read_again_and_again(text: str) -> None:
    # A quadratic pattern would take minutes over one of these, and run into the timeout.
    assert len(normalise(text)) <= len(text)


def test_common_words_are_known_and_rare_compounds_are_not() -> None:
    assert is_word("money") and is_word("Channel")
    assert not is_word("checkout") and not is_word("qzxv")
