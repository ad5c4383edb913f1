"""Entries are read a line at a time, and a wrong line is named."""

from pathlib import Path

import numpy as np
import pytest

from builders.golden import Golden
from builders.lists import digests_of
from builders.refusals import Refusals
from feedmill.events.errors import UsageError
from feedmill.filters import list_store
from feedmill.filters.list_store import WrongLines, read_entries
from feedmill.filters.lists import ListKind
from feedmill.filters.phrases import keys_of


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "list.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("kind", "text", "entries"),
    [
        (
            "domains",
            "\ufeff# bad\n\nwww.Evil.example\r\n evil.example. \nbücher.test\nxn--bcher-kva.test",
            ["evil.example", "xn--bcher-kva.test"],
        ),
        ("media", "AB" * 32 + "\n" + "ab" * 32, ["ab" * 32]),
        ("authors", "Ann\nann\nünï\n", ["Ann", "ann", "ünï"]),
        ("phrases", "Free, MONEY!\nfree money\n$ cash\n免费\n", ["free money", "$ cash", "免 费"]),
    ],
)
def test_entries_take_the_form_in_which_posts_have_them(
    tmp_path: Path, kind: ListKind, text: str, entries: list[str]
) -> None:
    found = read_entries(written(tmp_path, text), kind)
    assert np.array_equal(found.digests, digests_of(entries))
    assert (found.phrases is not None) == (kind == "phrases")


WRONG: tuple[tuple[ListKind, str | bytes], ...] = (
    ("domains", "a.example\nhttps://b.example/\n"),
    ("domains", "# x\n\n*.a.example"),
    ("domains", "localhost"),
    ("domains", "a" * 5000),
    ("domains", f"{'a.' * 140}example"),
    ("media", "ab" * 32 + "\nab"),
    ("authors", "ann\nbob the builder"),
    ("authors", "é" * 200),
    ("authors", b"ann\n\xff\n"),
    ("phrases", "free money\n- ...\n"),
    ("phrases", "a " * 33),
    ("phrases", "ab" * 101),
)


def test_a_wrong_line_is_named(tmp_path: Path, golden: Golden) -> None:
    refusals = Refusals(UsageError)
    for kind, text in WRONG:
        refusals.add(f"{kind}: {ascii(text)[:60]}", read_entries, written(tmp_path, text), kind)
    golden.check("wrong_lines.txt", refusals.text().replace(str(tmp_path), "<folder>"))


LINES = f"a.example\nb c\n{'x' * 7000}\n\nhttp://d.example\ne.example\n".encode() + b"\xff\n"


def test_all_wrong_lines_are_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, LINES)
    with pytest.raises(UsageError) as raised:
        read_entries(path, "domains")
    text = str(raised.value)
    assert text.startswith(f"{path}, line 2: expected a domain such as")
    assert "; line 3: expected less than 2,000 bytes, got more; line 5: expected a domain" in text
    assert text.endswith(
        "; line 7: expected UTF-8; correct these 4 lines, or leave what is wrong out with"
        " --skip-bad"
    )
    monkeypatch.setattr(list_store, "_MOST_NAMED", 1)
    with pytest.raises(UsageError, match="; and 3 more lines; correct these 4 lines"):
        read_entries(path, "domains")


def test_wrong_lines_may_be_left_out(tmp_path: Path) -> None:
    skipped = WrongLines()
    found = read_entries(written(tmp_path, LINES), "domains", skipped)
    assert np.array_equal(found.digests, digests_of(["a.example", "e.example"]))
    assert skipped.count == 4
    assert [one.partition(":")[0] for one in skipped.first] == [
        "line 2",
        "line 3",
        "line 5",
        "line 7",
    ]
    with pytest.raises(UsageError, match="no line is an entry: is it the right file, and"):
        read_entries(written(tmp_path, "no domain\n"), "domains", WrongLines())
    phrases = read_entries(written(tmp_path, "free money\n- ...\n"), "phrases", WrongLines())
    assert len(phrases.digests) == 1


def test_the_keys_of_phrases_find_them_and_say_how_many_words_they_have(tmp_path: Path) -> None:
    found = read_entries(written(tmp_path, "a b c\nd\n$ e\nA b, c\n"), "phrases").phrases
    assert found is not None
    assert np.array_equal(found.keys, np.sort(keys_of([b"a b c", b"d", b"$ e"])))
    assert found.word_counts.tolist() == [1, 3]
    assert found.symbol_word_counts.tolist() == [2]


def test_no_entry_and_too_many_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="has no entry"):
        read_entries(written(tmp_path, "# only a remark\n\n"), "authors")
    with pytest.raises(UsageError, match="cannot read"):
        read_entries(tmp_path / "nowhere.txt", "authors")
    monkeypatch.setattr(list_store, "MAX_ENTRIES", 2)
    assert len(read_entries(written(tmp_path, "a\nb\na\n"), "authors").digests) == 2
    with pytest.raises(UsageError, match="at most 2 entries, got 3"):
        read_entries(written(tmp_path, "a\nb\nc\n"), "authors")
    monkeypatch.setattr(list_store, "MAX_PHRASES", 1)
    with pytest.raises(UsageError, match="at most 1 entries, got 2"):
        read_entries(written(tmp_path, "a\nb\n"), "phrases")
