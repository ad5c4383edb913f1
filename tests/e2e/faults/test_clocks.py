"""Clocks that are nine days off, of clients and of workers: nothing depends on them."""

from datetime import datetime
from functools import partial

from builders.engine import Worker
from builders.fault_engine import FaultEngine
from builders.waiting import now_ms, until

DAY_MS = 24 * 3_600_000
OFF_MS = 9 * DAY_MS
MINUTE_MS = 60_000
POSTS = [f"clock-{n}" for n in range(12)]


def post(engine: FaultEngine, post_id: str, off_ms: int) -> None:
    """Write a post by a client whose clock is off."""
    value = {"author_id": post_id, "created_at_ms": now_ms(), "text": f"The hour of {post_id}"}
    engine.send(
        "posts", post_id, {"post_id": post_id, **value}, timestamp_ms=now_ms() + off_ms
    ).get(10)


def click(engine: FaultEngine, event_id: str, off_ms: int = 0) -> None:
    """Write an engagement by a client whose clock is off."""
    at_ms = now_ms() + off_ms
    value = {"post_id": POSTS[0], "user_id": f"u-{event_id}", "kind": "click", "at_ms": at_ms}
    engine.send("engagements", POSTS[0], {**value, "event_id": event_id}, timestamp_ms=at_ms).get(
        10
    )


def clicks(engine: FaultEngine) -> int:
    state = engine.latest("counters").get(POSTS[0])
    return 0 if state is None else int(state["counters"]["counts"][1])


def start_with_wrong_clock(engine: FaultEngine, name: str, off_ms: int) -> Worker:
    """Start a worker on a host whose time of day is off."""
    folder = engine.folder / f"clock-of-{name}"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WRONG_CLOCK.format(off_ms=off_ms), "utf-8")
    return engine.ready_worker(name, variables={"PYTHONPATH": str(folder)})


WRONG_CLOCK = """\
import time

real = time.time_ns
time.time_ns = lambda: real() + {off_ms} * 1_000_000
time.time = lambda: time.time_ns() / 1e9
"""


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


def wait_for_renewal(engine: FaultEngine) -> None:
    """Wait until the feed was renewed: what came before was dealt with."""
    fresh = engine.feed()[1]["fresh_until_ms"]
    until(lambda: engine.feed()[1]["fresh_until_ms"] != fresh)


def test_clients_whose_clocks_are_off_change_nothing(engine: FaultEngine) -> None:
    engine.ready_worker()
    for n, post_id in enumerate(POSTS):
        post(engine, post_id, (-OFF_MS, OFF_MS, 0)[n % 3])
    engine.wait_decided(POSTS)
    for off_ms in (OFF_MS, -OFF_MS, 0):
        click(engine, "once", off_ms)
    click(engine, "another", -OFF_MS)
    until(lambda: clicks(engine) >= 2)
    click(engine, "once", -OFF_MS)
    click(engine, "last")
    until(lambda: clicks(engine) >= 3)
    assert clicks(engine) == 3
    until(lambda: set(engine.order()) == set(POSTS))


def _has_counted(engine: FaultEngine, expected: int) -> bool:
    return clicks(engine) >= expected


def test_workers_whose_clocks_are_off_keep_the_view_and_the_counts(engine: FaultEngine) -> None:
    right = engine.ready_worker("right")
    for post_id in POSTS:
        post(engine, post_id, 0)
    click(engine, "once")
    engine.wait_decided(POSTS)
    until(lambda: set(engine.order()) == set(POSTS))
    right.stop()
    expected = 1
    for name, off_ms in (("ahead", OFF_MS), ("behind", -OFF_MS)):
        worker = start_with_wrong_clock(engine, name, off_ms)
        started = datetime.fromisoformat(worker.log.read_text()[:10])
        assert abs(started.timestamp() * 1000 - now_ms()) > 7 * DAY_MS  # it is off
        click(engine, "once")
        click(engine, name)
        expected += 1
        until(partial(_has_counted, engine, expected))
        wait_for_renewal(engine)
        assert clicks(engine) == expected
        assert set(engine.order()) == set(POSTS)
        engine.check_feed()
        assert all(abs(at_ms - now_ms()) < 5 * MINUTE_MS for at_ms in written_at(engine))
        worker.stop()
