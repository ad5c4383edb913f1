"""Released models and lists are loaded beside the loop; a refused one leaves the one before."""

import json
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest

from builders.lists import stored_list
from builders.model_store import add_version, shipped_store
from builders.records import StoredRecord
from builders.s3_server import set_keys
from builders.waiting import until
from feedmill.events.errors import BadArtifact, StoreAway
from feedmill.events.post import Post
from feedmill.events.reasons import MAX_REASON_CHARACTERS
from feedmill.events.release import ListRelease, ModelRelease
from feedmill.filters.lists import ListSet, PostList
from feedmill.filters.model import STORE
from feedmill.models.artifact import find_card, read_card, save_artifact
from feedmill.models.store_files import RemoteStore, Store, write_file
from feedmill.streams.releases import newest_releases
from feedmill.streams.releases.known_answers import answers_of
from feedmill.streams.releases.loading import failure_reason, load_model, load_released
from feedmill.streams.releases.newest_releases import (
    BackgroundLoads,
    ListReleases,
    load_list,
    load_newest,
)
from feedmill.streams.releases.release_log import ListKey, Released, ReleaseFold


def test_the_reason_of_a_failure_is_short_and_names_errors_that_are_not_feedmills() -> None:
    assert failure_reason(BadArtifact("it was altered")) == "it was altered"
    assert failure_reason(ValueError("no number")) == "ValueError('no number')"
    assert len(failure_reason(ValueError("x" * 5000))) == MAX_REASON_CHARACTERS


def test_a_release_is_fetched_from_an_s3_store_and_tried(
    tmp_path: Path, s3_store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shipped_store(tmp_path / "folder")
    sha256 = add_version(folder, "spam")
    content = (folder / f"{sha256}.npz").read_bytes()
    save_artifact(s3_store, find_card(folder, "spam", sha256), content)
    known = answers_of(load_model("spam", folder, sha256))
    release = Released(7, ModelRelease(sha256, known, "ann", ""))
    old = read_card(STORE, "spam").version

    loaded = load_newest(partial(load_released, "spam", s3_store, old), [release])
    assert loaded.content is not None
    assert (cast(Any, loaded.content).version, loaded.version) == (sha256[:12], release)

    # The newest is altered on its way: the one before it runs.
    broken = Released(8, ModelRelease("ab" * 32, known, "ann", ""))
    write_file(s3_store, f"{'ab' * 32}.npz", content[:-1])
    load = partial(load_released, "spam", s3_store, sha256[:12])
    loaded = load_newest(load, [broken, release])
    assert (loaded.content, loaded.version) == (None, release)
    assert [(one.offset, "was altered" in reason) for one, reason in loaded.refusals] == [(8, True)]

    set_keys(monkeypatch, "http://127.0.0.1:1")
    away = RemoteStore(s3_store.address)
    loaded = load_newest(partial(load_released, "spam", away, old), [release])
    assert (loaded.content, loaded.version, loaded.refusals) == (None, None, [])
    assert "the server is not reachable" in loaded.away


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


def test_what_is_loaded_is_taken_out_once_in_the_order_it_began() -> None:
    loads, may_end = BackgroundLoads[str, bool]("test"), Event()
    loads.begin("slow", 5, lambda: may_end.wait(60))
    loads.begin("quick", 7, lambda: False)
    assert (loads.take_done(), loads.keys()) == ([], {"slow", "quick"})
    # Records from the first that is loading on are not dealt with.
    for offset, keys, expected in ((9, "slow quick", 4), (9, "quick", 6), (3, "quick", 3)):
        assert loads.dealt_with(offset, keys.split().__contains__) == expected
    assert loads.dealt_with(9, lambda key: key == "nsfw") == 9
    may_end.set()
    taken: list[tuple[str, int, bool]] = []

    def all_taken() -> bool:
        taken.extend(loads.take_done())
        return len(taken) == 2

    until(all_taken)
    assert taken == [("slow", 5, True), ("quick", 7, False)]
    assert (len(loads), loads.take_done()) == (0, [])
    loads.close()
