"""A feed is fresh while all that it depends on is read and judged, and says so when it is not."""

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor

from builders.engine_topics import PARTITIONS, Json
from builders.fault_engine import FaultEngine, go_on, pause
from builders.waiting import in_background, now_ms, until

# Nobody takes over from who is paused meanwhile.
LONG_SESSION = {"FEEDMILL_SESSION_TIMEOUT_MS": "120000"}
STALE_WITHIN_S = 30.0
FRESH_WITHIN_S = 15.0
WITHOUT_SPAM = "nsfw+misinformation+quality+engagement+combiner"


def is_fresh(engine: FaultEngine) -> bool:
    return int(engine.feed()[1].get("fresh_until_ms", 0)) > now_ms()


def beats(engine: FaultEngine, stage: str) -> list[Json]:
    return [beat for beat in engine.instances().values() if beat["stage"] == stage]


def partitions_of(engine: FaultEngine, instance: str) -> set[int]:
    return {
        at["partition"]
        for beat in beats(engine, "spam")
        if beat["instance"] == instance
        for at in beat["partitions"]
    }


# Each goes on to the fault at the second step, and to its cure at the third.


def a_judge_is_paused(engine: FaultEngine) -> Generator[None, None, None]:
    judge = engine.ready_worker("spam", stages="spam", variables=LONG_SESSION)
    engine.ready_worker("rest", stages=WITHOUT_SPAM)
    yield
    pause(judge)
    yield
    go_on(judge)
    yield


def one_of_two_workers_is_paused(engine: FaultEngine) -> Generator[None, None, None]:
    workers = {name: engine.start_worker(name, variables=LONG_SESSION) for name in ("one", "two")}
    engine.wait_ready()
    until(lambda: all(partitions_of(engine, name) for name in workers))
    yield
    ranks = next(name for name in workers if 0 in partitions_of(engine, name))
    other = next(worker for name, worker in workers.items() if name != ranks)
    pause(other)
    yield
    go_on(other)
    yield


def a_transaction_holds_engagements_back(engine: FaultEngine) -> Generator[None, None, None]:
    engine.ready_worker()
    producer = engine.producer_of(**{"transactional.id": engine.topic("upstream")})
    producer.init_transactions(30)
    yield
    producer.begin_transaction()
    producer.produce(engine.topic("engagements"), b"{}", b"some")
    producer.flush(30)
    yield
    late = [at for beat in beats(engine, "engagement") for at in beat["partitions"] if at["why"]]
    assert [at["topic"] for at in late] == ["engagements"]
    assert "held back by a transaction" in late[0]["why"]
    producer.abort_transaction(30)
    yield


def the_program_of_a_signal_answers_nothing(engine: FaultEngine) -> Generator[None, None, None]:
    engine.ready_worker()
    engine.set("weights", {"quality": 1.0, "engagement": 1.0, "novelty": 1.0})
    heartbeat = {**beats(engine, "spam")[0], "stage": "novelty", "group": "", "partitions": []}

    def beat_until(stop: threading.Event) -> None:
        while not stop.wait(2.0):
            engine.send("instances", "novelty/app", {**heartbeat, "at_ms": now_ms()}, partition=0)

    with in_background(beat_until):
        yield
        offset = engine.post("unanswered")
        yield
        engine.signal("novelty", "unanswered", offset, 0.5)
        yield


FAULTS = (
    a_judge_is_paused,
    one_of_two_workers_is_paused,
    a_transaction_holds_engagements_back,
    the_program_of_a_signal_answers_nothing,
)


def goes_stale_and_is_fresh_again(steps: Generator[None, None, None], engine: FaultEngine) -> None:
    next(steps)
    until(lambda: is_fresh(engine), 60)
    next(steps)
    until(lambda: not is_fresh(engine), STALE_WITHIN_S)
    time.sleep(1.0)
    assert not is_fresh(engine)
    next(steps)
    until(lambda: is_fresh(engine), FRESH_WITHIN_S)


def test_feeds_go_stale_by_a_fault_and_are_fresh_after_its_cure(
    fault_engine: Callable[..., FaultEngine],
) -> None:
    """Side by side, each with an engine of its own: most of the time they wait."""
    engines = [fault_engine(signals="novelty:objective") for _ in FAULTS]
    with ThreadPoolExecutor(len(FAULTS)) as pool:
        steps = [fault(engine) for fault, engine in zip(FAULTS, engines, strict=True)]
        done = [
            pool.submit(goes_stale_and_is_fresh_again, *one)
            for one in zip(steps, engines, strict=True)
        ]
    failed = {fault.__name__: one.exception() for fault, one in zip(FAULTS, done, strict=True)}
    assert {name: error for name, error in failed.items() if error is not None} == {}
    for fault in steps:
        fault.close()


def test_under_load_feeds_are_never_stale(engine: FaultEngine) -> None:
    """Posts and engagements in every partition, for longer than any heartbeat holds."""
    engine.ready_worker()
    until(lambda: is_fresh(engine))
    end, count = time.monotonic() + 25.0, 0
    while time.monotonic() < end:
        engine.posts(
            {
                "post_id": f"p{count}-{n}",
                "author_id": f"a{n}",
                "created_at_ms": now_ms(),
                "text": "A",
            }
            for n in range(PARTITIONS * 5)
        )
        count += 1
        assert is_fresh(engine)
    assert count > 25
