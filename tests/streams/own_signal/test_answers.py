"""What a user's function answers, as the bytes that other programs read."""

import asyncio
import json
from typing import Any

import pytest

from feedmill.events.errors import BadEvent
from feedmill.events.post import Post
from feedmill.streams.own_signal.signal_app import Answers, ScorePost, check_partition

POST = b'{"post_id": "p", "author_id": "a", "created_at_ms": 1700000000005, "text": "four"}'


def answer(score: ScorePost, value: bytes | None = POST, *, is_gate: bool = False) -> Any:
    answers = Answers("mine", is_gate, "m", "v1", score)
    written = asyncio.run(answers.answer(b"p", value, 7, 99))
    return None if written is None else json.loads(written)


def test_a_post_is_answered_about_its_own_version() -> None:
    assert answer(lambda post: len(post.text) / 10) == {
        "post_id": "p",
        "post_offset": 7,
        "value": 0.4000000059604645,  # a float32, written in full
        "model": "m",
        "version": "v1",
        "at_ms": 99,
    }


def test_a_coroutine_function_is_awaited() -> None:
    async def score(post: Post) -> float:
        await asyncio.sleep(0)
        return 2.0

    assert answer(score)["value"] == 2.0


def test_a_deletion_removes_the_signal() -> None:
    def score(post: Post) -> float:
        raise AssertionError("a deletion is not scored")

    assert answer(score, None) is None
    assert answer(score, b'{"post_id": "p", "deleted": true}') is None


def test_an_exception_becomes_an_error() -> None:
    written = answer(lambda post: 1 / 0)
    assert (written["value"], written["error"]) == (None, "ZeroDivisionError: division by zero")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_a_value_that_no_reader_takes_becomes_an_error(value: float) -> None:
    written = answer(lambda post: value)
    assert written["value"] is None
    assert "Expected a finite float32" in written["error"]


def test_a_gate_is_a_probability_and_an_objective_any_number() -> None:
    assert answer(lambda post: 4.5)["value"] == 4.5
    written = answer(lambda post: 4.5, is_gate=True)
    assert written["value"] is None
    assert "Expected `mine` in [0, 1]" in written["error"]


def test_what_is_no_post_is_rejected() -> None:
    with pytest.raises(BadEvent):
        answer(lambda post: 1.0, b"no post")


def test_a_record_in_a_foreign_partition_is_rejected() -> None:
    # murmur2 of `p`, as Java's client computes it, puts it into partition 2 of 4.
    check_partition(b"p", 2, 4)
    with pytest.raises(BadEvent, match="Expected partition 2 for this key, got 1"):
        check_partition(b"p", 1, 4)
