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
    # It has said goodbye.
    until(lambda: not engine.instances())
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
