"""The broker's clock is set: Redis has a token above that of the newest claim, times go back."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builders.clocked_kafka import ClockedKafka
from builders.fault_engine import ALL_STAGES, FaultEngine
from builders.waiting import now_ms, until

pytestmark = pytest.mark.stack

HOUR_MS = 3_600_000


def put_ahead(engine: FaultEngine, token: int) -> None:
    """Give all that Redis shows to an owner that claimed by a clock that was ahead."""
    for kind in ("feed:*:info", "signals:*"):
        for key in engine.redis.scan_iter(f"{engine.prefix}{kind}"):
            engine.redis.hset(key, "owner", token)


def owner(engine: FaultEngine) -> int:
    return int(engine.feed()[1]["owner"])


def write_again(engine: FaultEngine, name: str, above: int) -> None:
    """See that a new post is ranked, and one that a higher token has is written, anew."""
    engine.wait_decided({name: engine.post(name)})
    until(lambda: name in engine.order() and owner(engine) > above)
    engine.redis.delete(f"{engine.prefix}signals:first")
    engine.post("first", f"Another walk, {name}")
    until(lambda: engine.truth("first"))


def test_the_owner_claims_again_above_it_and_every_later_one_does(
    fault_engine: Callable[..., FaultEngine],
) -> None:
    engine = fault_engine()
    engine.ready_worker()
    engine.wait_decided({"first": engine.post("first")})
    # A worker that runs.
    ahead = now_ms() + HOUR_MS
    put_ahead(engine, ahead)
    write_again(engine, "second", ahead)
    # One that starts.
    engine.workers[ALL_STAGES].stop()
    put_ahead(engine, 2 * ahead)
    engine.ready_worker()
    write_again(engine, "third", 2 * ahead)
    # One that starts later knows the token by the claims.
    before = owner(engine)
    engine.workers[ALL_STAGES].stop()
    engine.ready_worker()
    until(lambda: owner(engine) == before + 1)
    assert set(engine.order()) == {"first", "second", "third"}
    assert engine.metric(engine.workers[ALL_STAGES], "feedmill_redis_refused_total") == 0


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[ClockedKafka]:
    """A broker of this test alone."""
    kafka = ClockedKafka(tmp_path / "kafka")
    try:
        yield kafka
    finally:
        kafka.close()


def test_a_clock_that_is_set_ahead_and_back_harms_nothing(
    kafka: ClockedKafka, fault_engine: Callable[..., FaultEngine]
) -> None:
    engine = fault_engine(kafka=kafka.address)
    worker = engine.ready_worker()

    def check(name: str) -> None:
        """A post is ranked, and the feed is fresh by the broker's clock, not longer."""
        engine.wait_decided({name: engine.post(name)})
        until(lambda: name in engine.order())

        def is_right() -> bool:
            left_ms = int(engine.feed()[1]["fresh_until_ms"]) - kafka.now_ms()
            return 0 < left_ms <= 15_000

        until(is_right)

    check("before")
    for name, ahead_s in (("ahead", 3600), ("back", 0)):
        kafka.set_ahead(ahead_s)
        check(name)
        worker.stop()
        worker = engine.ready_worker()
        check(f"{name}-again")
    assert len(engine.order()) == 5
    assert engine.metric(worker, "feedmill_redis_refused_total") == 0
