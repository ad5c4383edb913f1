"""What a deletion writes: a withdrawal of each record that there was, and nothing else."""

from typing import Any

import pytest

from builders.engine import WORKER, Engine
from builders.engine_topics import post_of
from builders.waiting import until

pytestmark = pytest.mark.stack

ALL_SIGNALS = ("spam", "nsfw", "misinformation", "quality", "engagement")


def test_a_deletion_withdraws_what_was_written_and_nothing_else(start_engine: Any) -> None:
    engine: Engine = start_engine(WORKER)
    engine.post("kept")
    engine.post("gone")
    engine.wait_decided(["kept", "gone"])
    engine.send("posts", "never-was", None)
    engine.send("posts", "gone", None).get(10)
    engine.workers[WORKER].stop()
    engine.restart(WORKER)
    engine.send("posts", "never-was-either", None)
    # Behind the deletions, in every partition.
    after = [f"after-{i}" for i in range(20)]
    engine.posts(map(post_of, after))
    engine.wait_decided(after)
    topics = [*(f"signals.{name}" for name in ALL_SIGNALS), "counters"]
    wanted = {engine.topic(topic): ["gone"] for topic in topics}

    def withdrawn() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for record in engine.read_all(*topics):
            if not record.value:
                found.setdefault(record.topic, []).append(record.key.decode())
        return found

    until(lambda: withdrawn() == wanted)


def test_a_start_removes_what_redis_has_of_a_post_whose_deletion_alone_is_left(
    start_engine: Any,
) -> None:
    engine: Engine = start_engine()
    # As an earlier ranker left them: Kafka compacted one post while nobody ranked.
    for post_id in ("deleted", "expired"):
        said: dict[Any, Any] = {"owner": "1", "post": "7 1700000000000 5", "author_id": "ann"}
        engine.redis.hset(f"{engine.prefix}signals:{post_id}", mapping=said)
    engine.send("posts", "deleted", None).get(10)
    engine.start(WORKER)
    until(lambda: not engine.redis.exists(f"{engine.prefix}signals:deleted"))
    assert engine.redis.exists(f"{engine.prefix}signals:expired")
