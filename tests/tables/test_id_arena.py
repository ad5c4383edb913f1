"""The text of ids: read back as put, through blocks that fill, empty and are rewritten."""

from random import Random

import pytest

from feedmill.tables.id_arena import BLOCK_BYTES, IdArena, encode


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
    assert arena.read_many([3, 1, 0, 2]) == [texts[n] for n in (3, 1, 0, 2)]


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
