"""A list in a store is what was put there, or is refused with its reason."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders.lists import digests_of, entries_of, stored_list
from feedmill.events.errors import BadArtifact, UsageError
from feedmill.filters import list_store
from feedmill.filters.list_store import find_list_card, list_cards, pack_list, read_list
from feedmill.models.artifact import Arrays, pack_artifact, sha256_of

ENTRIES = ("evil.example", "worse.example")
GOOD = {"list": "bad", "filter": "spam", "kind": "domains", "verdict": "hide", "list_format": 1}


def rows_of(entries: Sequence[str]) -> np.ndarray:
    digests = digests_of(entries)
    return np.frombuffer(digests.tobytes(), dtype=np.uint8).reshape(-1, 12)


def refusal(store: Path, sha256: str, name: str = "bad") -> str:
    with pytest.raises((BadArtifact, UsageError)) as raised:
        read_list(store, "spam", name, sha256)
    return str(raised.value)


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


def test_what_is_missing_altered_or_cut_is_refused(tmp_path: Path) -> None:
    sha256 = stored_list(tmp_path, "domains", ENTRIES)
    assert "the artifact is the list ('spam', 'bad')" in refusal(tmp_path, sha256, "other")
    path = tmp_path / f"{sha256}.npz"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert "was altered" in refusal(tmp_path, sha256)
    path.unlink()
    assert "no artifact at" in refusal(tmp_path, sha256)
    assert list_cards(tmp_path) == []


UNSORTED = rows_of(ENTRIES)[::-1]
TWICE = np.repeat(rows_of(ENTRIES), 2, axis=0)


@pytest.mark.parametrize(
    ("change", "digests", "reason"),
    [
        ({"list_format": 2}, rows_of(ENTRIES), "has format 2"),
        ({"kind": "phrases"}, rows_of(ENTRIES), "expected 1 to 2 keys of 64 bits in order"),
        ({"kind": "patterns"}, rows_of(ENTRIES), "kind patterns"),
        ({"kind": ["domains"]}, rows_of(ENTRIES), "kind"),
        ({"verdict": "burn"}, rows_of(ENTRIES), "`burn` is no verdict"),
        ({"verdict": {}}, rows_of(ENTRIES), "is no verdict"),
        ({"filter": "nsfw"}, rows_of(ENTRIES), "is the list ('nsfw', 'bad')"),
        ({}, UNSORTED, "not in order"),
        ({}, TWICE, "not in order"),
        ({}, rows_of(ENTRIES)[:0], "expected 1 to"),
        ({}, rows_of(ENTRIES)[:, :8], "of 12 bytes"),
        ({}, rows_of(ENTRIES).ravel(), "of 12 bytes"),
        ({}, rows_of(ENTRIES).astype(np.float64), "of 12 bytes"),
    ],
)
def test_what_no_build_writes_is_refused(
    tmp_path: Path, change: dict[str, Any], digests: np.ndarray, reason: str
) -> None:
    content = pack_artifact({**GOOD, **change}, (), {"digests": digests})
    sha256 = sha256_of(content)
    (tmp_path / f"{sha256}.npz").write_bytes(content)
    assert reason in refusal(tmp_path, sha256)


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


KEYS = np.array([1, 2], np.uint64)
COUNTS = np.array([1, 32], np.uint8)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"keys": KEYS[::-1]}, "keys of 64 bits in order"),
        ({"keys": KEYS[:0]}, "keys of 64 bits in order"),
        ({"keys": KEYS.astype(np.int64)}, "keys of 64 bits in order"),
        ({"keys": np.arange(3, dtype=np.uint64)}, "expected 1 to 2 keys"),
        ({"word_counts": COUNTS[::-1]}, "`word_counts` numbers from 1 to 32 in order"),
        ({"word_counts": np.array([0], np.uint8)}, "`word_counts`"),
        ({"symbol_word_counts": np.array([33], np.uint8)}, "`symbol_word_counts`"),
        ({"symbol_word_counts": COUNTS.astype(float)}, "`symbol_word_counts`"),
    ],
)
def test_keys_that_no_build_writes_are_refused(
    tmp_path: Path, arrays: dict[str, Any], reason: str
) -> None:
    good: Arrays = {"keys": KEYS, "word_counts": COUNTS, "symbol_word_counts": COUNTS[:0]}
    metadata = {**GOOD, "kind": "phrases"}
    content = pack_artifact(metadata, (), {"digests": rows_of(ENTRIES), **good, **arrays})
    sha256 = sha256_of(content)
    (tmp_path / f"{sha256}.npz").write_bytes(content)
    assert reason in refusal(tmp_path, sha256)


def test_bytes_that_are_no_artifact_or_have_no_digests_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content, reason in (
        (b"\x80\x04not an artifact", "not an artifact"),
        (pack_artifact(GOOD, (), {"other": np.ones(3)}), "of 12 bytes"),
        (
            pack_artifact(GOOD, (), {"digests": np.zeros((6_000_000, 12), np.uint8)}),
            "once unpacked",
        ),
    ):
        sha256 = sha256_of(content)
        (tmp_path / f"{sha256}.npz").write_bytes(content)
        assert reason in refusal(tmp_path, sha256)
    monkeypatch.setattr(list_store, "MAX_ENTRIES", 1)
    assert "expected 1 to 1 digests" in refusal(tmp_path, stored_list(tmp_path, "media", "ab"))


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
