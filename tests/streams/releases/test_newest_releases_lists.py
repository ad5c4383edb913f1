"""Released lists are loaded beside the loop; what is refused leaves the version before in force."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from builders.lists import stored_list
from builders.records import StoredRecord
from builders.waiting import until
from feedmill.events.errors import StoreAway
from feedmill.events.post import Post
from feedmill.events.release import ListRelease
from feedmill.filters.lists import ListSet, PostList
from feedmill.models.store_files import Store
from feedmill.streams.releases import newest_releases
from feedmill.streams.releases.newest_releases import ListReleases, load_list
from feedmill.streams.releases.release_log import ListKey, Released, ReleaseFold

BAD = "list/spam/bad"
NOWHERE = "0" * 64


class Step:
    """A filter that remembers what it was told."""

    name = "spam"

    def __init__(self) -> None:
        self.told: list[tuple[ListSet, int]] = []

    def swap_lists(self, lists: ListSet, version: int) -> None:
        self.told.append((lists, version))


class Worker:
    """A worker with spam alone, and the records of `models`."""

    def __init__(self, store: Store | None, records: Sequence[tuple[str, str | None]] = ()) -> None:
        self.fold = ReleaseFold(("spam",))
        self.found: set[str] = set()
        self.step = Step()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self._store = store
        steps: Any = {"spam": self.step}
        self.lists = ListReleases(self.fold, steps, self.load)
        for key, sha256 in records:
            self.write(key, sha256)

    def load(self, key: ListKey, version: Released[ListRelease]) -> PostList | None:
        self.goes_on.wait(10)
        return load_list(self._store, key, version)

    def write(self, key: str, sha256: str | None) -> None:
        value = b"" if sha256 is None else json.dumps({"sha256": sha256}).encode()
        self.fold.apply(StoredRecord(self.fold.offset + 1, key=key.encode(), value=value))
        self.found.add(key)

    def follow(self) -> set[str]:
        found, self.found = self.found, set()
        return self.lists.swap_loaded(found)

    def settle(self) -> None:
        def settled() -> bool:
            self.follow()
            return self.lists.is_settled()

        until(settled, 10)

    @property
    def in_force(self) -> tuple[dict[str, str], int]:
        """By author the list that decides, of the authors that tests know; and the version."""
        lists, version = self.step.told[-1]
        posts = [Post("p", author, 0, "") for author in ("ann", "bob")]
        return {p.author_id: m.rule for p, m in zip(posts, lists.verdicts(posts), strict=True)
                if m is not None}, version  # fmt: skip

    @property
    def reasons(self) -> list[tuple[str, int, str]]:
        return [(one.model, one.offset, one.reason) for one in self.fold.refused]


def label(sha256: str, name: str = "bad") -> str:
    return f"list/{name}@{sha256[:12]}"


def test_a_list_is_released_replaced_and_withdrawn(tmp_path: Path) -> None:
    one, two = stored_list(tmp_path, "authors", ["ann"]), stored_list(tmp_path, "authors", ["bob"])
    made = Worker(tmp_path, [(BAD, one)])
    made.settle()
    assert made.in_force == ({"ann": label(one)}, 0)
    made.write(BAD, two)
    assert made.follow() == set()
    assert not made.lists.is_settled()
    made.settle()
    assert made.in_force == ({"bob": label(two)}, 1)
    made.write(BAD, None)
    made.settle()
    assert made.in_force == ({}, 2)
    assert made.reasons == []


def test_each_fault_leaves_the_version_before_and_tells_its_reason(tmp_path: Path) -> None:
    good = stored_list(tmp_path, "authors", ["ann"])
    altered = stored_list(tmp_path, "authors", ["bob"])
    path = tmp_path / f"{altered}.npz"
    path.write_bytes(path.read_bytes()[:-1])
    other = stored_list(tmp_path, "authors", ["bob"], "other")
    made = Worker(tmp_path, [(BAD, good)])
    made.settle()
    for sha256, reason in (
        (NOWHERE, "no artifact at"),
        (altered, "was altered"),
        (other, "is the list ('spam', 'other')"),
    ):
        made.write(BAD, sha256)
        made.settle()
        assert made.in_force == ({"ann": label(good)}, 0)
        key, offset, text = made.reasons[-1]
        assert (key, offset) == (BAD, made.fold.offset)
        assert reason in text
    assert len(made.step.told) == 1


def test_a_worker_that_starts_goes_back_to_a_version_that_it_can_read(tmp_path: Path) -> None:
    good = stored_list(tmp_path, "authors", ["ann"])
    friends = stored_list(tmp_path, "authors", ["bob"], "friends", "allow")
    records = [(BAD, good), ("list/spam/friends", friends), ("list/spam/gone", good)]
    records += [("list/nsfw/bad", good), (BAD, NOWHERE)]
    made = Worker(tmp_path, [*records, ("list/spam/gone", None)])
    made.settle()
    expected = {"ann": label(good), "bob": label(friends, "friends")}
    # The withdrawn list counts: its record is the last one that is in force.
    assert made.in_force == (expected, 5)
    assert [(key, offset) for key, offset, _ in made.reasons] == [(BAD, 4)]


def test_the_stage_has_dealt_with_a_record_once_its_list_is_loaded(tmp_path: Path) -> None:
    good = stored_list(tmp_path, "authors", ["ann"])
    made = Worker(tmp_path, [(BAD, good)])
    made.goes_on.clear()
    made.follow()
    assert made.lists.dealt_with("spam", 7) == -1
    assert made.lists.dealt_with("nsfw", 7) == 7
    # Another version comes while the first is read.
    made.write(BAD, None)
    made.follow()
    made.goes_on.set()
    made.settle()
    assert made.lists.dealt_with("spam", 7) == 7
    assert made.in_force == ({}, 1)


def test_a_list_waits_for_the_store_and_comes_when_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest_releases, "_PAUSE_S", 0.01)
    old, new = (stored_list(tmp_path, "authors", [name]) for name in ("ann", "bob"))
    made = Worker(tmp_path, [(BAD, old)])
    made.settle()
    tries = []

    def away(*_: object) -> PostList:
        tries.append(1)
        raise StoreAway("the server is not reachable")

    def follow() -> bool:
        made.follow()
        return True

    with monkeypatch.context() as patch:
        patch.setattr(newest_releases, "read_list", away)
        made.write(BAD, new)
        until(lambda: follow() and len(tries) > 2, every=0.001)
        # It is neither refused nor dealt with, and holds no partition back.
        ((key, wait),) = made.lists.newest.away.items()
        assert (str(key), wait.offset, wait.reason) == (BAD, 1, "the server is not reachable")
        assert (made.reasons, made.lists.dealt_with("spam", 1)) == ([], 0)
        assert made.in_force == ({"ann": label(old)}, 0)
    until(lambda: follow() and not made.lists.newest.away, every=0.001)
    assert made.in_force == ({"bob": label(new)}, 1)
    assert made.lists.dealt_with("spam", 1) == 1


def test_without_a_store_of_its_own_a_worker_refuses_every_list() -> None:
    made = Worker(None, [(BAD, NOWHERE)])
    made.settle()
    assert made.step.told == []
    assert "set FEEDMILL_MODELS" in made.reasons[0][2]


def test_a_filter_has_no_more_than_it_can_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = stored_list(tmp_path, "authors", ["ann", "cem"])
    two = stored_list(tmp_path, "authors", ["bob", "dan"], "two")
    monkeypatch.setattr(newest_releases, "MOST_ENTRIES", 3)
    made = Worker(tmp_path, [(BAD, one)])
    made.settle()
    made.write("list/spam/two", two)
    made.settle()
    assert made.in_force == ({"ann": label(one)}, 0)
    assert "would have 2 lists with 4 entries" in made.reasons[0][2]
    # A new version of a list takes the place of the old one.
    made.write(BAD, stored_list(tmp_path, "authors", ["ann", "bob", "cem"]))
    made.settle()
    assert made.in_force[1] == 2
    made.write(BAD, None)
    made.write("list/spam/two", two)
    made.settle()
    assert made.in_force == ({"bob": label(two, "two")}, 4)
    monkeypatch.setattr(newest_releases, "MOST_LISTS", 0)
    made.write("list/spam/two", two)
    made.settle()
    assert "expected at most 0" in made.reasons[-1][2]
