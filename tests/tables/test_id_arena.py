"""The text of ids: read back as put, through blocks that fill, empty and are rewritten."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from feedmill.tables.id_arena import BLOCK_BYTES, IdArena, encode, encode_many


def put(arena: IdArena, texts: dict[int, str]) -> None:
    joined, sizes = encode_many(list(texts.values()))
    arena.put_many(np.array(list(texts), np.int32), joined, sizes)


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
        if random.random() < 0.5:
            put(arena, texts)
        else:
            for number, text in texts.items():
                arena.put(number, encode(text))
        held |= texts
        for number in random.sample(sorted(held), k=min(len(held), random.choice((0, 300)))):
            arena.drop(number)
            del held[number]
            assert arena.read(number) == ""
        arena.tidy()
    assert {number: arena.read(number) for number in held} == held
    numbers = np.array(list(held), np.int32)
    assert arena.read_many(numbers) == list(held.values())
    asked = [text if random.random() < 0.5 else draw(random, text) for text in held.values()]
    expected = [text == other for text, other in zip(held.values(), asked, strict=True)]
    assert arena.hold(numbers, *encode_many(asked)).tolist() == expected
    assert arena.hold(numbers, *encode_many(list(held.values()))).all()


def test_only_the_same_text_is_held() -> None:
    arena = IdArena()
    arena.put(3, b"abc")
    assert arena.holds(3, b"abc")
    assert not arena.holds(3, b"abd")
    assert not arena.holds(3, b"abcd")
    assert not arena.holds(2, b"abc")


def test_ids_beyond_ascii() -> None:
    texts = {0: "é", 1: "\U0001f600" * 3, 2: "a", 3: "\ud800"}  # the last has no other half
    arena = IdArena()
    put(arena, texts)
    assert {number: arena.read(number) for number in texts} == texts
    assert arena.read_many(np.array([3, 1, 0, 2], np.int32)) == [texts[n] for n in (3, 1, 0, 2)]


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
    assert arena._bytes.used_bytes <= 6 * BLOCK_BYTES


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


@pytest.mark.parametrize("size", [1, 20])
def test_of_equally_long_ids_those_that_differ_are_found(size: int) -> None:
    arena = IdArena()
    texts = [f"{i:0{size}d}"[-size:] for i in range(40)]
    put(arena, dict(enumerate(texts)))
    numbers = np.arange(40, dtype=np.int32)[::-1].copy()
    asked = texts[::-1]
    assert arena.hold(numbers, *encode_many(asked)).all()
    asked[7] = "x" * size
    assert np.flatnonzero(~arena.hold(numbers, *encode_many(asked))).tolist() == [7]
    # The last id ends where the memory in use ends.
    arena.put_many(np.array([40], np.int32), *encode_many(["y" * size]))
    assert arena.hold(np.array([40], np.int32), *encode_many(["y" * size])).all()
