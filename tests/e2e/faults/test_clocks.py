"""Clocks that are nine days off, of clients and of workers: nothing depends on them."""

from datetime import datetime
from functools import partial

from builders.engine_topics import post_of
from builders.fault_engine import FaultEngine
from builders.waiting import now_ms, until
from chaos import jumping_clock

DAY_MS = 24 * 3_600_000
OFF_MS = 9 * DAY_MS
MINUTE_MS = 60_000
POSTS = [f"clock-{n}" for n in range(12)]


def click(engine: FaultEngine, event_id: str, off_ms: int = 0) -> None:
    """Write an engagement by a client whose clock is off."""
    at_ms = now_ms() + off_ms
    value = {"post_id": POSTS[0], "user_id": f"u-{event_id}", "kind": "click", "at_ms": at_ms}
    event = {**value, "event_id": event_id}
    engine.send("engagements", POSTS[0], event, timestamp_ms=at_ms).get(10)


def written_at(engine: FaultEngine) -> list[int]:
    """Every time that a worker wrote last: signals, heartbeats, feeds."""
    _, info = engine.feed()
    return [
        *(one["at_ms"] for one in engine.latest("signals.quality").values()),
        *(one["at_ms"] for one in engine.latest("signals.engagement").values()),
        *(one["at_ms"] for one in engine.instances().values()),
        int(info["written_at_ms"]),
        int(info["fresh_until_ms"]),
    ]


def has_counted(engine: FaultEngine, number: int) -> bool:
    return engine.clicks()[POSTS[0]] >= number


def is_written_again(engine: FaultEngine, fresh_until_ms: str) -> bool:
    return engine.feed()[1]["fresh_until_ms"] != fresh_until_ms


def test_clients_and_workers_whose_clocks_are_off_change_nothing(engine: FaultEngine) -> None:
    worker = engine.ready_worker("right")
    for n, post_id in enumerate(POSTS):
        off_ms = (-OFF_MS, OFF_MS, 0)[n % 3]
        post = post_of(post_id, f"The hour of {post_id}")
        engine.send("posts", post_id, post, timestamp_ms=now_ms() + off_ms).get(10)
    engine.wait_decided(POSTS)
    for off_ms in (OFF_MS, -OFF_MS, 0):
        click(engine, "once", off_ms)
    click(engine, "another", -OFF_MS)
    click(engine, "once", -OFF_MS)
    click(engine, "last")
    until(lambda: has_counted(engine, 3))
    assert engine.clicks()[POSTS[0]] == 3
    until(lambda: set(engine.order()) == set(POSTS))

    (folder,) = jumping_clock.__path__
    for counted, (name, off_ms) in enumerate((("ahead", OFF_MS), ("behind", -OFF_MS)), 4):
        worker.stop()
        clock = engine.folder / f"clock-of-{name}"
        clock.write_text(str(off_ms))
        variables = {"PYTHONPATH": folder, "CHAOS_CLOCK": str(clock)}
        worker = engine.ready_worker(name, variables=variables)
        started = datetime.fromisoformat(worker.log.read_text()[:10])
        assert abs(started.timestamp() * 1000 - now_ms()) > 7 * DAY_MS  # it is off
        before = engine.feed()[1]["fresh_until_ms"]
        click(engine, "once")
        # In the same partition: once it is counted, the other was dealt with.
        click(engine, name)
        until(partial(has_counted, engine, counted))
        until(partial(is_written_again, engine, before))
        assert engine.clicks()[POSTS[0]] == counted
        assert set(engine.order()) == set(POSTS)
        until(engine.is_right)
        assert all(abs(at_ms - now_ms()) < 5 * MINUTE_MS for at_ms in written_at(engine))
