"""More workers than partitions: one without any waits, and disturbs nobody."""

import json
import threading
import time

from builders.engine import Engine
from builders.engine_topics import PARTITIONS
from builders.waiting import in_background, until

STAGES = "nsfw+quality"
# Longer than the session timeout of 6 s.
WATCHED_S = 7.0


def test_a_worker_without_partitions_neither_flaps_nor_ends(engine: Engine) -> None:
    workers = [engine.start_worker(f"w{n}", stages=STAGES) for n in range(PARTITIONS + 1)]
    engine.wait_ready()

    def owned() -> list[str]:
        """The last assignment that each worker logged."""
        logs = [one.log.read_text() for one in workers]
        return [log.rpartition("assigned: ")[2].split(", shards")[0] for log in logs]

    until(lambda: sorted(map(len, owned())) == [2, *[4] * PARTITIONS])  # "()" and "(3,)"
    engine.wait_ready()
    before = [one.log.read_text().count("assigned: ") for one in workers]
    beats = len(engine.read_all("instances"))

    def post_until(stop: threading.Event) -> None:
        n = 0
        while not stop.wait(0.02):
            engine.post(f"p{n}")
            n += 1

    with in_background(post_until):
        time.sleep(WATCHED_S)
    assert [one.process.poll() for one in workers] == [None] * len(workers)
    assert [one.log.read_text().count("assigned: ") for one in workers] == before
    seen = [json.loads(record.value) for record in engine.read_all("instances")[beats:]]
    assert {beat["pid"] for beat in seen} == {one.pid for one in workers}
    assert [beat for beat in seen if not beat["ready"]] == []
    assert engine.complaints() == []
