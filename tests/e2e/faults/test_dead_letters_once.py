"""A bad record has one dead letter, however often workers start again and read it."""

from collections import Counter
from collections.abc import Callable

from builders.engine import Worker
from builders.fault_engine import FaultEngine
from builders.waiting import until

# Gates and quality are written by the test, so that the worker reads their topics too.
STAGES = "engagement+combiner"
TOPICS = ("posts", "engagements", "signals.quality", "overrides")


def letters(engine: FaultEngine) -> Counter[tuple[str, str]]:
    """How many dead letters there are of each topic and key."""
    found = engine.read_all("dead-letters")
    return Counter((dict(one.headers)["topic"].decode(), one.key.decode()) for one in found)


def send_bad(engine: FaultEngine, key: str) -> Counter[tuple[str, str]]:
    """Send a bad record to each topic; the dead letters that they are to have."""
    for topic in TOPICS:
        engine.send(topic, key, b"{", partition=0).get(10)
    return Counter((topic, key) for topic in TOPICS)


def test_a_restart_repeats_no_dead_letter_and_makes_up_for_those_that_are_missing(
    fault_engine: Callable[..., FaultEngine],
) -> None:
    engine = fault_engine()
    worker = engine.ready_worker(stages=STAGES)
    wanted = send_bad(engine, "first")

    def has_each_once() -> bool:
        return letters(engine) == wanted

    until(has_each_once)
    for end in (Worker.stop, Worker.kill):
        end(engine.workers[worker.name])
        wanted.update(send_bad(engine, f"while-down-{end.__name__}"))
        engine.restart(worker.name)
        until(has_each_once, 60)
        engine.wait_ready()
        wanted.update(send_bad(engine, f"after-{end.__name__}"))
        until(has_each_once)
    assert engine.complaints() == []
