"""`signals:<post_id>` in a real Redis: any id, any fields, and nothing of before."""

import random

import pytest

from builders.changes import post_change, removal, whole_post
from builders.own_redis import RedisClient
from builders.redis_writer import KEYS, SteppedWriter, everything

pytestmark = pytest.mark.stack


def test_a_post_keeps_no_field_of_before_that_is_not_written_again(
    writer: SteppedWriter, client: RedisClient
) -> None:
    """Drawn fields, of which some come and some go, few enough and too many for a short map."""
    drawn = random.Random(5)
    usual = {"post": "7 1700000000000 5", "author_id": "ann", "decision": "show", "owner": "10"}
    for most in (0, 5, 11, 12, 13, 129):
        for _ in range(6):
            names = drawn.sample(range(130), drawn.randint(0, most))
            fields = {f"s{name}": "é" * drawn.randint(1, 40) for name in names}
            assert writer.write(whole_post("p", **fields)).written_posts == 1
            assert client.hgetall(KEYS.signals("p")) == usual | fields
    client.delete(KEYS.signals("p"))
    client.hset(KEYS.signals("p"), "stranger", "x")  # of no owner
    writer.write(whole_post("p"))
    assert client.hgetall(KEYS.signals("p")) == usual


@pytest.mark.parametrize("post_id", ["p", "é", "x" * 200, "\U0001f600" * 3])
def test_a_post_is_found_by_its_id_whatever_that_is(
    writer: SteppedWriter, client: RedisClient, post_id: str
) -> None:
    written = [whole_post(post_id), whole_post(f"{post_id}2"), removal(f"{post_id}3")]
    assert writer.write(*written).written_posts == 3
    assert writer.write(post_change(post_id, more="é"), whole_post("q")).written_posts == 2
    assert client.hget(KEYS.signals(post_id), "more") == "é"
    kept = {KEYS.signals(one) for one in (post_id, f"{post_id}2", "q")}
    assert set(everything(client)) == kept | {KEYS.post_tombstone(f"{post_id}3")}


@pytest.mark.parametrize("text", ["\0", "x" * 70_000, "é\U0001f600" * 40])
def test_a_field_of_a_post_may_be_any_text(
    writer: SteppedWriter, client: RedisClient, text: str
) -> None:
    for _ in range(2):
        assert writer.write(whole_post("p", reason=text, more="y")).written_posts == 1
        stored = client.hgetall(KEYS.signals("p"))
        assert (stored["reason"], stored["more"], len(stored)) == (text, "y", 6)
