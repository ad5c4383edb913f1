import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedmill.features.text.common_words import is_word
from feedmill.features.text.deobfuscation import deobfuscate, normalise_characters
from feedmill.features.text.ngrams import TextBatch
from feedmill.features.text.normalise import normalise

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
