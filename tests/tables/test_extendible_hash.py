"""The hash table against a dict of sets, with hashes that collide and buckets that split."""

from collections import defaultdict
from random import Random

import numpy as np
import pytest

from builders.mapped import mapped_bytes
from feedmill.tables.extendible_hash import ExtendibleHash


class HashModel:
    """What must be found."""

    def __init__(self) -> None:
        self.table = ExtendibleHash()
        self.numbers: dict[int, set[int]] = defaultdict(set)
        self.given = 0

    def insert(self, hashes: list[int]) -> None:
        numbers = list(range(self.given, self.given + len(hashes)))
        self.given += len(hashes)
        if len(hashes) > 5:
            self.table.insert_many(np.array(hashes, np.uint64), np.array(numbers, np.int32))
        for hashed, number in zip(hashes, numbers, strict=True):
            if len(hashes) <= 5:
                self.table.insert(hashed, number)
            self.numbers[hashed].add(number)

    def remove(self, random: Random, count: int) -> None:
        for _ in range(count):
            hashed = random.choice([h for h, numbers in self.numbers.items() if numbers])
            number = random.choice(sorted(self.numbers[hashed]))
            self.table.remove(hashed, number)
            self.numbers[hashed].remove(number)

    def check(self, others: list[int]) -> None:
        asked = [*self.numbers, *others]
        for hashed in asked:
            assert set(self.table.find(hashed)) == self.numbers.get(hashed, set())
        found = self.table.find_many(np.array(asked, np.uint64)).tolist()
        assert found == [next(iter(self.table.find(hashed)), -1) for hashed in asked]


def draw_hash(random: Random, kind: str) -> int:
    if kind == "crowded":  # all begin in a few slots at the end of their bucket, and wrap
        return random.getrandbits(22) << 10 | 1020 + random.randrange(4)
    if kind == "equal":  # many numbers have one hash
        return random.randrange(30) << 20
    return random.getrandbits(32)


@pytest.mark.parametrize("kind", ["spread", "crowded", "equal"])
@pytest.mark.parametrize("seed", range(3))
def test_a_hash_finds_what_a_dict_finds(kind: str, seed: int) -> None:
    random, model = Random(seed), HashModel()
    sizes = (1, 5, 100) if kind == "equal" else (1, 5, 400)
    for _ in range(40):
        hashes = [draw_hash(random, kind) for _ in range(random.choice(sizes))]
        model.insert(hashes)
        model.remove(random, min(model.given // 20, 20))
    model.check([draw_hash(random, kind) for _ in range(200)])


def test_after_all_is_removed_nothing_is_found_and_the_slots_serve_again() -> None:
    random, model = Random(2), HashModel()
    model.insert([random.getrandbits(32) for _ in range(3000)])
    used = mapped_bytes(model.table)
    for hashed, numbers in model.numbers.items():
        for number in tuple(numbers):
            model.table.remove(hashed, number)
            numbers.remove(number)
    model.check([])
    model.insert([random.getrandbits(32) for _ in range(3000)])
    model.check([])
    assert mapped_bytes(model.table) <= 2 * used


def test_it_takes_some_twenty_bytes_a_number() -> None:
    random, table = Random(3), ExtendibleHash()
    for number in range(200_000):
        table.insert(random.getrandbits(32), number)
        if number >= 50_000:
            assert 14 <= mapped_bytes(table._slots) / (number + 1) <= 36
