"""All arrays that serve have checksums, and every bit of them counts."""

import gc
import random
import threading
from collections.abc import Iterable
from functools import cache
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from builders.altered_memory import bytes_of, flipped
from builders.hostile_texts import hostile_texts, ordinary_text
from builders.lists import post_list
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.code_points import CharacterTable
from feedmill.filters.lists import ListSet
from feedmill.streams.releases.known_answers import WORKER_POSTS, values_of
from feedmill.streams.releases.loading import MODELS, load_model
from feedmill.streams.releases.model_checks import ModelChecks
from feedmill.streams.releases.served_memory import (
    SLICE_BYTES,
    Memory,
    MemorySlice,
    module_roots,
    slices_of,
    uncalled,
)

DRAWN_BITS = 1_500
LISTS = [
    post_list("phrases", [f"cheap {n} shoes" for n in range(300)]),
    post_list("domains", [f"bad{n}.example.com" for n in range(300)], name="domains"),
]


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """The shipped models, which have judged whatever fills the tables of their features."""
    found = {name: load_model(name, None) for name in MODELS}
    checks = ModelChecks(dict, list, lambda _: None, lambda _: pytest.fail("no metrics"))
    texts = [*hostile_texts(2_000).values(), ordinary_text(3_000)]
    posts = [Post("p", "a", 1, text, links=(f"https://x.com/{text[:80]}",)) for text in texts]
    ListSet(LISTS).verdicts(posts)
    for batch in (WORKER_POSTS, posts, posts):
        read = PostBatch(batch)
        read.interleaved = checks.interleaved
        for model in found.values():
            values_of(model, read)
    return {**found, "layout": checks.interleaved.present, "lists": LISTS}


def memories_of(slices: Iterable[MemorySlice]) -> dict[int, tuple[Memory, list[MemorySlice]]]:
    """By the address the memory of slices, and which they are."""
    found: dict[int, tuple[Memory, list[MemorySlice]]] = {}
    for one in slices:
        at = bytes_of(one._memory).ctypes.data
        found.setdefault(at, (one._memory, []))[1].append(one)
    return found


def reachable(roots: Iterable[object]) -> dict[int, np.ndarray]:
    """What the collector of garbage finds of arrays, by the address of their memory."""
    found: dict[int, np.ndarray] = {}
    seen: dict[int, object] = {}
    stack = [*roots]
    while stack:
        value = stack.pop()
        if id(value) in seen or isinstance(value, type | ModuleType):
            continue
        seen[id(value)] = value
        if isinstance(value, np.ndarray):
            if isinstance(value.base, np.ndarray):
                stack.append(value.base)
            elif value.nbytes and not isinstance(value.base, bytes):
                found[value.ctypes.data] = value
        elif isinstance(value, FunctionType):
            stack += [*(value.__defaults__ or ()), *(value.__closure__ or ())]
        else:
            stack += gc.get_referents(value)
    return found


def test_no_array_that_the_collector_can_reach_is_left_out(models: dict[str, Any]) -> None:
    roots = [*models.items(), *module_roots()]
    checked = memories_of(slices_of(roots))
    found = reachable(value for _, value in roots)
    assert {at: value for at, value in found.items() if at not in checked} == {}
    # All but tables of bytes and views of them.
    assert len(found) > len(checked) // 2
    names = " ".join(one._name for one in slices_of(roots))
    for part in ("trees.leaf_values", "calibrator.demote_at", "layout.table", "digests"):
        assert part in names
    for part in ("_bitmap", "common_words._table()", "profane_words()", "_usual_powers()"):
        assert part in names


def test_each_of_many_drawn_bits_is_found_and_nothing_else_is(models: dict[str, Any]) -> None:
    slices = slices_of([*models.items(), *module_roots()])
    assert [one.failure() for one in slices if one.failure()] == []
    memories = [*memories_of(slices).values()]
    sizes = [bytes_of(memory).size for memory, _ in memories]
    draw = random.Random(37)
    # Over all bytes, so that large arrays have the most; and once each array, however small.
    drawn = [*draw.choices(memories, weights=sizes, k=DRAWN_BITS), *memories]
    for memory, parts in drawn:
        with flipped(memory, draw.randrange(8 * bytes_of(memory).size)):
            assert len([one for one in parts if one.failure()]) == 1
    assert [one.failure() for one in slices if one.failure()] == []


def test_a_large_array_is_read_in_slices_without_a_gap() -> None:
    array = np.zeros(2 * SLICE_BYTES + 5, dtype=np.uint8)
    slices = slices_of([("large", array[3:])])
    assert [one.failure() for one in slices] == ["", "", ""]
    ends = (0, SLICE_BYTES, 2 * SLICE_BYTES, len(array))
    for at in (*ends[:-1], *(end - 1 for end in ends[1:])):
        array[at] ^= 1
        assert [one.failure() for one in slices].count("the array `large`") == 1
        array[at] ^= 1


def test_a_function_is_looked_into_once_it_keeps_something() -> None:
    @cache
    def kept() -> np.ndarray:
        return np.arange(3)

    roots = [("module.kept", kept)]
    assert (slices_of(roots), uncalled(roots)) == ([], roots)
    array = kept()
    (checked,) = slices_of(roots)
    assert (checked.failure(), uncalled(roots)) == ("", [])
    array[1] = 7
    assert checked.failure() == "the array `module.kept()`"


def test_what_is_in_objects_of_any_kind_is_found() -> None:
    class Slotted:
        __slots__ = ("inside",)

        def __init__(self, inside: object) -> None:
            self.inside = inside

    def array() -> np.ndarray:
        return np.arange(4)

    column = np.arange(12).reshape(3, 4).T[1]
    mixed = np.array([array(), None], dtype=object)
    model = SimpleNamespace(
        slotted=Slotted((array(), {"k": array()})), column=column, mixed=mixed, raw=b"abc"
    )
    model.itself = model
    names = [one._name for one in slices_of([("model", model), ("again", column)])]
    assert sorted(names) == [
        *("again", "model.mixed[0]", "model.raw"),
        *("model.slotted.inside[0]", "model.slotted.inside[1]['k']"),
    ]


def test_threads_that_learn_characters_at_a_time_leave_a_table_intact() -> None:
    table = CharacterTable(lambda character: ord(character) % 7, np.uint8)
    (checked,) = slices_of([("table", table)])

    def learn(seed: int) -> None:
        draw = np.random.default_rng(seed)
        for _ in range(50):
            table.of(draw.integers(0, 3_000, 40).astype(np.uint32))

    threads = [threading.Thread(target=learn, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert checked.failure() == ""
    assert checked.failure() == ""


def test_a_table_of_characters_may_learn_and_not_forget() -> None:
    table = CharacterTable(ord, np.uint32)
    (checked,) = slices_of([("table", table)])
    assert checked.failure() == ""
    table.of(np.array([97, 0x10FFFF]))
    assert checked.failure() == ""
    for bit in (32 * 97 + 4, 32 * 5, 8 * bytes_of(table).size - 1):
        with flipped(table, bit):
            assert checked.failure() == "the array `table`"
    assert checked.failure() == ""
