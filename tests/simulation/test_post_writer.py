"""The word lists of the demo: each file is read, and no name in braces is misspelt."""

import re
from pathlib import Path

from feedmill.simulation import post_writer
from feedmill.simulation.demo import POST_FRACTIONS

LISTS = Path(post_writer.__file__).parent / "lists"
# What `PostWriter` replaces by a number; any other unknown name would become a number unnoticed.
NUMBERS = {"n", "m"}


def names_in_braces(*tables: post_writer.Words) -> set[str]:
    lines = [line for table in tables for lines in table.values() for line in lines]
    return {name for line in lines for name in re.findall(r"\{(\w*)", line)}


def test_every_name_in_braces_has_phrases() -> None:
    for (_, lang), topics in post_writer.TOPICS.items():
        voices = post_writer.VOICES[lang]
        assert names_in_braces(topics, voices) <= {*topics, *voices, *NUMBERS}
    for kind, bad in post_writer.BAD.items():
        topics = post_writer.TOPICS["python", "en"] if kind == "clickbait" else {}
        assert names_in_braces(bad) <= {*bad, *topics, *NUMBERS}


def test_every_file_of_words_is_read() -> None:
    tables = [*post_writer.TOPICS.values(), *post_writer.VOICES.values(), *post_writer.BAD.values()]
    read = sorted(line for table in tables for lines in table.values() for line in lines)
    texts = [path.read_text("utf-8").splitlines() for path in LISTS.rglob("*.txt")]
    lines = [line for text in texts for line in text if not re.match(r"#|\[\w+\]$|$", line)]
    assert read == sorted(lines)
    assert {*post_writer.BAD, "ordinary"} == {*POST_FRACTIONS}
    assert {community for community, _ in post_writer.TOPICS} == {*post_writer.COMMUNITIES}
