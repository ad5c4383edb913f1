"""Judges and rankers of one group: who ranks owns no posts, and the combiner moves alone."""

from collections import Counter
from typing import Any

import pytest

from builders.engine import STAGES, WORKER, Engine, Worker
from builders.waiting import until

pytestmark = pytest.mark.stack
JUDGE, RANKER = "+".join(STAGES[:-1]), STAGES[-1]


def decide(engine: Engine, *names: str) -> None:
    """Have new posts judged and ranked, and a bad override lettered, once each."""
    engine.wait_decided({name: engine.post(name) for name in names})
    until(lambda: set(names) <= set(engine.order()))
    before = len(engine.dead_letters())
    engine.send("overrides", names[0], {"value": "nonsense"})
    until(lambda: len(engine.dead_letters()) == before + 1)


def beat_of(engine: Engine, worker: Worker) -> dict[str, Any]:
    """The combiner's heartbeat of a worker, empty before the first."""
    beats = engine.instances().values()
    return next(
        (one for one in beats if (one["pid"], one["stage"]) == (worker.pid, "combiner")), {}
    )


def who_ranks(engine: Engine) -> list[Worker]:
    alive = [one for one in engine.workers.values() if one.process.poll() is None]
    return [one for one in alive if "ranking " in one.log.read_text()]


def who_has(engine: Engine, worker: Worker) -> tuple[bool, bool]:
    """Whether a worker has partitions, and shards, by its heartbeats."""
    beats = [one for one in engine.instances().values() if one["pid"] == worker.pid]
    return any(one["partitions"] for one in beats), any(one["shards"] for one in beats)


def test_a_ranker_ranks_by_logs_another_takes_over_and_the_combiner_moves_without_offsets(
    start_engine: Any,
) -> None:
    engine: Engine = start_engine(JUDGE, RANKER)
    engine.start(RANKER, tag="2")
    engine.wait_ready()
    decide(engine, *(f"first-{n}" for n in range(20)))
    assert len(who_ranks(engine)) == 2
    ranker = engine.workers[RANKER]
    wanted = [(one.stages == JUDGE, one.stages != JUDGE) for one in engine.workers.values()]
    until(lambda: [who_has(engine, worker) for worker in engine.workers.values()] == wanted)
    beats = [beat_of(engine, worker) for worker in (ranker, engine.workers[f"{RANKER}2"])]
    assert {one["group"] for one in beats} == {engine.topic("worker")}
    assert sorted(shard for one in beats for shard in one["shards"]) == [*range(64)]

    # What the judge wrote has its way in the rankers.
    until(lambda: "append_to_redis" in beat_of(engine, ranker)["legs"].get("signals", {}))
    assert beat_of(engine, ranker)["legs"].keys() == {"signals"}

    # It is killed: the other has all shards, and knows the letters that were written.
    ranker.kill()
    decide(engine, *(f"second-{n}" for n in range(20)))
    assert [one.stages for one in who_ranks(engine)] == [RANKER]

    # A worker that does all comes, and those with one role go: nothing is judged once more.
    engine.start(WORKER)
    engine.wait_ready(WORKER)
    for one in engine.workers.values():
        if one.stages != WORKER and one.process.poll() is None:
            one.stop()
    decide(engine, *(f"third-{n}" for n in range(20)))
    assert [one.stages for one in who_ranks(engine)] == [WORKER]
    judged = Counter(one.key for one in engine.read_all("signals.spam"))
    assert len(judged) == 60
    assert set(judged.values()) == {1}
    assert len(engine.lettered()) == 3
    assert engine.complaints() == []

    # One of another group that would rank, too, claims nothing.
    claims = len(engine.read_all("feed-shards"))
    engine.start("spam+combiner")
    second = engine.workers["spam+combiner"]
    until(lambda: " runs spam, combiner, too" in beat_of(engine, second).get("reason", ""))
    until(lambda: beat_of(engine, second)["shards"] == [])
    until(lambda: beat_of(engine, engine.workers[WORKER])["shards"] == [*range(64)])
    assert len(engine.read_all("feed-shards")) == claims
