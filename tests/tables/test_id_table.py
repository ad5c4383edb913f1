"""The table of ids against a dict."""

from random import Random

import numpy as np
import pytest

from feedmill.tables import id_table
from feedmill.tables.id_table import IdTable


class Model:
    """The same calls on the table and on a dict."""

    def __init__(self, random: Random) -> None:
        self.table = IdTable()
        self.numbers: dict[str, int] = {}
        self.forgotten: dict[int, str] = {}
        self.random = random

    def draw(self) -> str:
        alphabet = self.random.choice(("p", "é", "post-"))
        return f"{alphabet}{self.random.randrange(4000)}"

    def add(self) -> None:
        texts = [self.draw() for _ in range(self.random.choice((1, 10, 20, 300)))]
        self.took(texts, [*map(self.table.add, texts)])

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
        for text, number in self.numbers.items():
            assert table[number] == text
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


def test_a_sweep_forgets_in_slices_what_nothing_refers_to() -> None:
    table = IdTable()
    for i in range(100):
        table.add(f"u{i}")
    table.sweeping.begin(np.array([3, 3, 7, -1], np.int32), table.bound)
    assert table.sweep(10) == 10
    assert table.add("u50") == 50  # comes into use while the sweep is running
    for i in range(60, 80):
        table.add(f"u{i}")
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
    assert 40 <= table.used_bytes / 100_000 <= 62
