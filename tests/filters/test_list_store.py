"""A list in a store is what was put there, or is refused with its reason."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders.golden import Golden
from builders.lists import digests_of, entries_of, stored_list
from builders.refusals import Refusals
from feedmill.events.errors import BadArtifact, UsageError
from feedmill.filters import list_store
from feedmill.filters.list_store import (
    WrongLines,
    find_list_card,
    list_cards,
    pack_list,
    read_entries,
    read_list,
)
from feedmill.filters.lists import ListKind
from feedmill.filters.phrases import keys_of
from feedmill.models.artifact import Arrays, pack_artifact, sha256_of

ENTRIES = ("evil.example", "worse.example")
GOOD = {"list": "bad", "filter": "spam", "kind": "domains", "verdict": "hide", "list_format": 1}


def rows_of(entries: Sequence[str]) -> np.ndarray:
    digests = digests_of(entries)
    return np.frombuffer(digests.tobytes(), dtype=np.uint8).reshape(-1, 12)


def test_a_list_is_read_as_it_was_built_and_its_card_says_where_it_is_from(tmp_path: Path) -> None:
    sha256 = stored_list(tmp_path, "domains", ENTRIES, verdict="demote")
    found = read_list(tmp_path, "spam", "bad", sha256)
    assert (found.filter, found.name, found.kind, found.verdict) == (
        "spam",
        "bad",
        "domains",
        "demote",
    )
    assert found.label == f"list/bad@{sha256[:12]}"
    assert np.array_equal(found.digests, digests_of(ENTRIES))
    (card,) = list_cards(tmp_path)
    assert (card.source, card.licence, card.date) == ("made up", "CC0-1.0", "2026-11-26")
    assert (card.entries, card.version) == (2, sha256[:12])


def test_the_same_entries_are_the_same_bytes_and_any_change_gives_another_version() -> None:
    entries = entries_of("domains", ENTRIES)
    content = pack_list("spam", "bad", "domains", "hide", entries)
    assert content == pack_list(
        "spam", "bad", "domains", "hide", entries_of("domains", ENTRIES[::-1])
    )
    others = {
        pack_list("nsfw", "bad", "domains", "hide", entries),
        pack_list("spam", "worse", "domains", "hide", entries),
        pack_list("spam", "bad", "authors", "hide", entries),
        pack_list("spam", "bad", "domains", "allow", entries),
        pack_list("spam", "bad", "domains", "hide", entries_of("domains", ENTRIES[:1])),
    }
    assert len(others | {content}) == 6


def test_a_list_of_phrases_is_read_as_it_was_built(tmp_path: Path) -> None:
    phrases = ("free money", "$ cash", "one")
    sha256 = stored_list(tmp_path, "phrases", phrases)
    found, built = read_list(tmp_path, "spam", "bad", sha256), entries_of("phrases", phrases)
    assert np.array_equal(found.digests, built.digests)
    assert found.phrases is not None
    assert built.phrases is not None
    assert np.array_equal(found.phrases.keys, built.phrases.keys)
    assert found.phrases.word_counts.tolist() == [1, 2]
    assert found.phrases.symbol_word_counts.tolist() == [2]


UNSORTED = rows_of(ENTRIES)[::-1]
TWICE = np.repeat(rows_of(ENTRIES), 2, axis=0)
KEYS = np.array([1, 2], np.uint64)
COUNTS = np.array([1, 32], np.uint8)
PHRASES: Arrays = {"keys": KEYS, "word_counts": COUNTS, "symbol_word_counts": COUNTS[:0]}
# What is changed of the metadata and the arrays of a list of domains.
CHANGES: tuple[tuple[dict[str, Any], Arrays], ...] = (
    ({"list_format": 2}, {}),
    ({"kind": "phrases"}, {}),
    ({"kind": "patterns"}, {}),
    ({"kind": ["domains"]}, {}),
    ({"verdict": "burn"}, {}),
    ({"verdict": {}}, {}),
    ({"filter": "nsfw"}, {}),
    *(({}, {"digests": rows}) for rows in (UNSORTED, TWICE, rows_of(ENTRIES)[:0])),
    ({}, {"digests": rows_of(ENTRIES)[:, :8]}),
    ({}, {"digests": rows_of(ENTRIES).ravel()}),
    ({}, {"digests": rows_of(ENTRIES).astype(np.float64)}),
    ({}, {"digests": np.zeros((6_000_000, 12), np.uint8)}),
    *(
        ({"kind": "phrases"}, {**PHRASES, **changed})
        for changed in (
            {"keys": KEYS[::-1]},
            {"keys": KEYS[:0]},
            {"keys": KEYS.astype(np.int64)},
            {"keys": np.arange(3, dtype=np.uint64)},
            {"word_counts": COUNTS[::-1]},
            {"word_counts": np.array([0], np.uint8)},
            {"symbol_word_counts": np.array([33], np.uint8)},
            {"symbol_word_counts": COUNTS.astype(float)},
        )
    ),
)


def test_what_no_build_writes_is_refused(
    tmp_path: Path, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals(BadArtifact)

    def refuse(title: str, content: bytes | None, sha256: str = "", name: str = "bad") -> None:
        """Have a list refused, where it is stored as this content or is missing."""
        sha256 = sha256 or sha256_of(content or b"")
        if content is not None:
            (tmp_path / f"{sha256}.npz").write_bytes(content)
        refusals.add(title, read_list, tmp_path, "spam", name, sha256)

    good = pack_artifact(GOOD, (), {"digests": rows_of(ENTRIES)})
    refuse("of another name", good, name="other")
    refuse("altered", good[:-1], sha256_of(good))
    refuse("missing", None)
    refuse("no artifact", b"\x80\x04not an artifact")
    refuse("no digests", pack_artifact(GOOD, (), {"other": np.ones(3)}))
    for metadata, arrays in CHANGES:
        changed = {"digests": rows_of(ENTRIES), **arrays}
        shapes = ", ".join(f"{name} {array.dtype}{array.shape}" for name, array in changed.items())
        refuse(f"{metadata}: {shapes}", pack_artifact({**GOOD, **metadata}, (), changed))
    monkeypatch.setattr(list_store, "MAX_ENTRIES", 1)
    refuse("too many entries", good)
    text = refusals.text().replace(str(tmp_path), "<store>")
    golden.check("refused_lists.txt", re.sub("[0-9a-f]{12,}", "<sha256>", text))


def test_a_version_is_found_by_its_first_digits(tmp_path: Path) -> None:
    first = stored_list(tmp_path, "domains", ENTRIES)
    assert find_list_card(tmp_path, "spam", "bad", None).sha256 == first
    second = stored_list(tmp_path, "domains", ENTRIES[:1])
    stored_list(tmp_path, "domains", ENTRIES, "other")
    (tmp_path / "list.spam.bad@x.json").write_bytes(b"{}")
    assert find_list_card(tmp_path, "spam", "bad", second[:8]).sha256 == second
    for version, reason in ((None, "several versions"), ("000000", "no version"), ("x", "digits")):
        with pytest.raises(UsageError, match=reason):
            find_list_card(tmp_path, "spam", "bad", version)
    with pytest.raises(UsageError, match="there are: spam/bad, spam/other"):
        find_list_card(tmp_path, "nsfw", "bad", None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="`feedmill lists build` makes one"):
        find_list_card(tmp_path / "empty", "spam", "bad", None)


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
