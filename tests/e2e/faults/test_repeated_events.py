"""An event that comes twice counts once, and a user too, whatever happens in between."""

import itertools

from builders.engine import Worker
from builders.fault_engine import ALL_STAGES, FaultEngine
from builders.named_commands import remove_records
from builders.waiting import now_ms, until

_USERS = (f"other-{n}" for n in itertools.count())


def click(engine: FaultEngine, post_id: str, event_id: str, user_id: str = "") -> None:
    """By a user of its own unless told otherwise."""
    user_id = user_id or next(_USERS)
    value = {"user_id": user_id, "kind": "click", "at_ms": now_ms(), "event_id": event_id}
    engine.send("engagements", post_id, {"post_id": post_id, **value}).get(10)


def clicks(engine: FaultEngine, post_id: str) -> int:
    found = engine.latest("counters").get(post_id)
    return int(found["counters"]["counts"][1]) if found else 0


def test_an_event_that_is_repeated_after_a_restart_counts_once(engine: FaultEngine) -> None:
    engine.ready_worker()
    engine.post("well")
    for n in range(50):
        click(engine, "well", f"e-{n % 25}", f"user-{n}")
    until(lambda: clicks(engine, "well") == 25)

    for end in (Worker.kill, Worker.stop):
        end(engine.workers[ALL_STAGES])
        engine.restart(ALL_STAGES)
        for n in range(25):
            click(engine, "well", f"e-{n}")
            click(engine, "well", f"{end.__name__}-{n}", "user-0")
        engine.wait_ready()
    click(engine, "well", "last")
    until(lambda: clicks(engine, "well") >= 26)
    assert clicks(engine, "well") == 26


def test_a_restart_is_ready_where_retention_removed_what_was_read(engine: FaultEngine) -> None:
    engine.ready_worker()
    engine.post("spring")
    click(engine, "spring", "first")
    until(lambda: clicks(engine, "spring") == 1)
    engine.workers[ALL_STAGES].stop()
    remove_records(engine, "engagements")
    remove_records(engine, "posts")

    engine.restart(ALL_STAGES)
    engine.wait_ready()
    engine.post("summer")
    engine.wait_shown("summer")
    click(engine, "spring", "second")
    click(engine, "spring", "second")
    until(lambda: clicks(engine, "spring") >= 2)
    assert clicks(engine, "spring") == 2
