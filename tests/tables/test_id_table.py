"""The table of ids against a dict, and its arena, whose blocks serve again."""

from random import Random

import numpy as np
import pytest

from builders.mapped import mapped_bytes
from feedmill.tables import id_table
from feedmill.tables.id_table import BLOCK_BYTES, IdArena, IdTable, encode


class Model:
    """The same calls on the table and on a dict."""

    def __init__(self, random: Random) -> None:
        self.table = IdTable()
        self.numbers: dict[str, int] = {}
        self.forgotten: dict[int, str] = {}
        self.random = random

    def draw(self) -> str:
        alphabet = self.random.choice(
            ("p", "é", "\U0001f600", "\ud800", "post-")
        )  # one has no other half
        return f"{alphabet}{self.random.randrange(4000)}"

    def add(self) -> None:
        texts = [self.draw() for _ in range(self.random.choice((1, 10, 20, 300)))]
        table = self.table
        is_single = self.random.random() < 0.3
        self.took(texts, [*map(table.add, texts)] if is_single else table.add_many(texts))

    def took(self, texts: list[str], numbers: list[int]) -> None:
        in_use = {*self.numbers.values(), *self.forgotten}
        for text, number in zip(texts, numbers, strict=True):
            if text not in self.numbers:
                assert number not in in_use
                self.numbers[text] = number
                in_use.add(number)
            assert self.numbers[text] == number

    def forget(self) -> None:
        count = min(len(self.numbers), self.random.choice((1, 100, 500)))
        for text in self.random.sample(sorted(self.numbers), k=count):
            number = self.numbers.pop(text)
            self.table.forget(number)
            self.forgotten[number] = text

    def recycle(self) -> None:
        for number in self.forgotten:
            self.table.recycle(number)
        self.forgotten.clear()
        self.table.tidy()

    def check(self) -> None:
        table = self.table
        assert len(table) == len(self.numbers)
        texts = [self.draw() for _ in range(500)]
        expected = [self.numbers.get(text, -1) for text in texts]
        assert [-1 if (n := table.find(text)) is None else n for text in texts] == expected
        assert table.find_many(texts) == expected
        for text, number in self.numbers.items():
            assert table[number] == text
        numbers = np.array([*self.numbers.values()], np.int32)
        assert table.read_many(numbers) == [*self.numbers]
        for number, text in self.forgotten.items():
            assert table[number] == text
        known = {*self.numbers.values(), *self.forgotten}
        assert all(not table[n] for n in range(table.bound + 5) if n not in known)


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_what_a_dict_finds(seed: int) -> None:
    random = Random(seed)
    model = Model(random)
    for _ in range(150):
        random.choice((model.add, model.add, model.forget, model.recycle))()
        model.check()


def test_two_ids_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_table, "_HASH", 0)
    table = IdTable()
    texts = [f"p{i}" for i in range(60)]
    assert [table.add(text) for text in texts] == list(range(60))
    table.forget(30)
    assert (table.find("p30"), table.find("p31"), table.find("other")) == (None, 31, None)
    texts += [f"q{i}" for i in range(40)]
    assert table.find_many(texts) == [*range(30), -1, *range(31, 60), *[-1] * 40]
    assert table.add_many(texts[31:] * 2) == [*range(31, 100)] * 2


def test_a_sweep_forgets_in_slices_what_nothing_refers_to() -> None:
    table = IdTable()
    for i in range(100):
        table.add(f"u{i}")
    table.sweeping.begin(table.bound)
    table.sweeping.mark_all(np.array([3, 3, 7, -1], np.int32))
    assert table.sweep(10) == 10
    assert table.add("u50") == 50  # comes into use while the sweep is running
    assert table.add_many([f"u{i}" for i in range(60, 80)]) == [*range(60, 80)]
    while table.sweeping.is_running:
        assert table.sweep(10) <= 10
    kept = {"u3", "u7", "u50", *(f"u{i}" for i in range(60, 80))}
    assert {table[number] for number in range(100)} - {""} == kept
    assert len(table) == len(kept)
    for i in range(77):
        table.add(f"v{i}")
    assert table.bound == 100


def test_an_id_of_twenty_bytes_takes_some_50() -> None:
    table = IdTable()
    for i in range(100_000):
        table.add(f"post-{i:015d}")
    assert 40 <= mapped_bytes(table) / 100_000 <= 62


# --- the text of ids ------------------------------------------------------------------------


def put(arena: IdArena, texts: dict[int, str]) -> None:
    for number, text in texts.items():
        arena.put(number, encode(text))


def draw(random: Random, text: str) -> str:
    """Another text, often of the same size."""
    return random.choice((text[:-1] + "x", "x" + text[1:], text + "x", text[1:], "é"))


@pytest.mark.parametrize("seed", range(3))
def test_ids_are_read_back_whatever_goes_and_moves(seed: int) -> None:
    random, arena, held, given = Random(seed), IdArena(), dict[int, str](), 0
    for _ in range(200):
        count = random.choice((1, 40, 400))
        texts = {given + i: f"{random.random()}" * random.randrange(1, 9) for i in range(count)}
        given += count
        put(arena, texts)
        held |= texts
        for number in random.sample(sorted(held), k=min(len(held), random.choice((0, 300)))):
            arena.drop(number)
            del held[number]
            assert arena.read(number) == ""
        arena.tidy()
    assert {number: arena.read(number) for number in held} == held
    for number, text in held.items():
        other = draw(random, text)
        assert arena.holds(number, encode(text))
        assert arena.holds(number, encode(other)) == (text == other)


def test_a_block_whose_ids_are_all_gone_is_used_again() -> None:
    arena, number = IdArena(), 0
    waiting: list[int] = []
    for _ in range(60):  # ids live as long as three blocks
        put(arena, {number + i: f"{i:064d}" for i in range(1024)})
        waiting.extend(range(number, number + 1024))
        number += 1024
        gone, waiting = waiting[:-3072], waiting[-3072:]
        for old in gone:
            arena.drop(old)
    assert arena._bytes.values.nbytes <= 6 * BLOCK_BYTES


def test_tidying_keeps_at_most_half_of_the_bytes_for_ids_that_are_gone() -> None:
    random, arena = Random(4), IdArena()
    held = {number: f"{number:032d}" for number in range(40_000)}
    put(arena, held)
    order = sorted(held)
    random.shuffle(order)
    for i, number in enumerate(order[:36_000]):
        arena.drop(number)
        del held[number]
        if i % 1000 == 0:
            arena.tidy()
    while arena.tidy():
        pass
    used = (len(arena._live) - len(arena._free_blocks)) * BLOCK_BYTES
    assert used <= 2 * 32 * len(held) + 2 * BLOCK_BYTES
    assert {number: arena.read(number) for number in held} == held
    assert not arena.tidy()
