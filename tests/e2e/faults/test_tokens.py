"""The broker's clock was set back: Redis has a token above that of the newest claim. Claims lie."""

from builders.fault_engine import ALL_STAGES, FaultEngine
from builders.waiting import now_ms, until

HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS


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


def test_the_owner_claims_again_above_it_and_every_later_one_does(engine: FaultEngine) -> None:
    engine.ready_worker()
    engine.wait_decided({"first": engine.post("first")})
    # A worker that runs.
    ahead, far_ahead = now_ms() + HOUR_MS, now_ms() + 9 * YEAR_MS
    put_ahead(engine, ahead)
    write_again(engine, "second", ahead)
    # One that starts.
    engine.workers[ALL_STAGES].stop()
    put_ahead(engine, far_ahead)
    engine.ready_worker()
    write_again(engine, "third", far_ahead)
    # One that starts later knows the token by the claims.
    before = owner(engine)
    engine.workers[ALL_STAGES].stop()
    engine.ready_worker()
    until(lambda: owner(engine) == before + 1)
    assert set(engine.order()) == {"first", "second", "third"}
    assert engine.metric(engine.workers[ALL_STAGES], "feedmill_redis_refused_total") == 0


def test_a_claim_that_lies_ends_no_shard(engine: FaultEngine) -> None:
    """One asks for the last token for which Redis' index has room, others for more and more."""
    engine.ready_worker()
    engine.post("first")
    engine.wait_shown("first")
    for above in (2**47 - 2, 2**47 - 1, now_ms() + 9 * YEAR_MS):
        for shard in range(64):
            claim = {"instance": "liar", "above": above}
            engine.send("feed-shards", f"liar/{shard}-{above}", claim, partition=shard)
    engine.producer.flush()
    for name in ("second", "third"):
        engine.workers[ALL_STAGES].kill()
        engine.restart(ALL_STAGES)
        engine.wait_ready()
        engine.post(name)
        engine.wait_shown(name)
        until(lambda: now_ms() + 8 * YEAR_MS < owner(engine) < now_ms() + 10 * YEAR_MS)
    assert set(engine.order()) == {"first", "second", "third"}
