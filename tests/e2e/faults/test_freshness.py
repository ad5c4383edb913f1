"""A feed is fresh while all that it depends on is read and judged, and says so when it is not."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor

import pytest

from builders.engine import WORKER, Engine, changed, go_on, pause
from builders.engine_topics import PARTITIONS, Json, post_of
from builders.waiting import in_background, now_ms, until
from feedmill.events.partition import partition_of

# Nobody takes over from who is paused meanwhile.
LONG_SESSION = {"FEEDMILL_SESSION_TIMEOUT_MS": "120000"}
# Heartbeats come more often, and hold for less than half as long.
HASTY = (
    "from feedmill.streams.ranking import feed_freshness",
    "from feedmill.streams.settings import log_time",
    "log_time.HEARTBEAT_S = feed_freshness.RENEW_S = 2.0",
    "feed_freshness.SEEN_WITHIN_MS = 5_000",
)
# It takes some 15 s; a loaded machine may take longer, but less than the session.
STALE_WITHIN_S = 100.0
WITHOUT_SPAM = "nsfw+misinformation+quality+engagement+combiner"


def is_fresh(engine: Engine) -> bool:
    return int(engine.feed()[1].get("fresh_until_ms", 0)) > now_ms()


def beats(engine: Engine, stage: str) -> list[Json]:
    return [beat for beat in engine.instances().values() if beat["stage"] == stage]


def partitions_of(engine: Engine, instance: str) -> set[int]:
    return {
        at["partition"]
        for beat in beats(engine, "spam")
        if beat["instance"] == instance
        for at in beat["partitions"]
    }


def share_all_partitions(engine: Engine, *instances: str) -> bool:
    """Whether each has some, and no two the same: while some move, two say the same, or none."""
    shares = [partitions_of(engine, instance) for instance in instances]
    return all(shares) and sorted(itertools.chain(*shares)) == [*range(PARTITIONS)]


def health(engine: Engine) -> Json:
    """What `feedmill health` says; its exit code goes with it."""
    done = engine.feedmill("health --json")
    found: Json = json.loads(done.stdout)
    assert done.returncode == (0 if found["healthy"] else 1), done.stderr
    return found


# Each goes on to the fault at the second step, which yields what `feedmill health` is to name
# (topic, partitions, instance), and to its cure at the third.
Place = tuple[str, set[int], str]
Steps = Generator[Place | None, None, None]


def a_judge_is_paused(engine: Engine) -> Steps:
    judge = engine.ready_worker("spam", stages="spam", variables=LONG_SESSION)
    engine.ready_worker("rest", stages=WITHOUT_SPAM)
    yield None
    pause(judge)
    yield "posts", set(range(PARTITIONS)), "spam"
    go_on(judge)
    yield None


def one_of_two_workers_is_paused(engine: Engine) -> Steps:
    workers = {name: engine.start_worker(name, variables=LONG_SESSION) for name in ("one", "two")}
    engine.wait_ready()
    until(lambda: share_all_partitions(engine, *workers), STALE_WITHIN_S)
    yield None
    ranks = next(name for name in workers if 0 in partitions_of(engine, name))
    other = next(worker for name, worker in workers.items() if name != ranks)
    pause(other)
    name = other.name.removeprefix(WORKER)
    yield "posts", partitions_of(engine, name), name
    go_on(other)
    yield None


def a_transaction_holds_engagements_back(engine: Engine) -> Steps:
    engine.ready_worker()
    # Kafka does not end it meanwhile, however slow the machine is.
    patient = {"transaction.timeout.ms": 600_000}
    producer = engine.producer_of(**{"transactional.id": engine.topic("upstream"), **patient})
    producer.init_transactions(30)
    yield None
    producer.begin_transaction()
    producer.produce(engine.topic("engagements"), b"{}", b"some")
    producer.flush(30)
    instance = beats(engine, "engagement")[0]["instance"]
    yield "engagements", {partition_of(b"some", PARTITIONS)}, instance

    def held_back() -> list[str]:
        lags = [at for beat in beats(engine, "engagement") for at in beat["partitions"]]
        return [at["topic"] for at in lags if "held back by a transaction" in at["why"]]

    until(lambda: held_back() == ["engagements"], STALE_WITHIN_S)
    producer.abort_transaction(30)
    yield None


def the_program_of_a_signal_answers_nothing(engine: Engine) -> Steps:
    engine.ready_worker()
    engine.set("weights", {"quality": 1.0, "engagement": 1.0, "novelty": 1.0})
    heartbeat = {**beats(engine, "spam")[0], "stage": "novelty", "group": "", "partitions": []}

    def beat_until(stop: threading.Event) -> None:
        while not stop.wait(1.0):
            engine.send("instances", "novelty/app", {**heartbeat, "at_ms": now_ms()}, partition=0)

    with in_background(beat_until):
        yield None
        offset = engine.post("unanswered")
        yield "signals.novelty", {partition_of(b"unanswered", PARTITIONS)}, heartbeat["instance"]
        engine.signal("novelty", "unanswered", offset, 0.5)
        yield None


def there_is_load_alone(engine: Engine) -> Steps:
    """Posts in every partition, for longer than any heartbeat holds; all times are the usual."""
    engine.ready_worker()
    yield None
    end, count = time.monotonic() + 25.0, 0
    while time.monotonic() < end:
        engine.posts(post_of(f"p{count}-{n}", "A") for n in range(PARTITIONS * 5))
        count += 1
        assert is_fresh(engine)
        time.sleep(0.2)
    assert count > 5
    # No fault, and so no place of one.
    yield None


FAULTS = (
    there_is_load_alone,
    a_judge_is_paused,
    one_of_two_workers_is_paused,
    a_transaction_holds_engagements_back,
    the_program_of_a_signal_answers_nothing,
)


def names(engine: Engine, place: Place) -> bool:
    """Whether `feedmill health` says that something is wrong there, and a way out."""
    topic, partitions, instance = place
    return any(
        (one["severity"], one["topic"], one["instance"]) == ("wrong", topic, instance)
        and set(one["partitions"]) == partitions
        and one["way_out"]
        for one in health(engine)["findings"]
    )


def goes_stale_and_is_fresh_again(steps: Steps, engine: Engine) -> None:
    next(steps)
    until(lambda: is_fresh(engine), STALE_WITHIN_S)
    place = next(steps)
    if place is None:
        return
    until(lambda: not is_fresh(engine), STALE_WITHIN_S)
    until(lambda: names(engine, place), STALE_WITHIN_S)
    assert not is_fresh(engine)
    next(steps)
    until(lambda: is_fresh(engine), STALE_WITHIN_S)
    until(lambda: health(engine)["healthy"], STALE_WITHIN_S)


@pytest.mark.timeout(600)
def test_feeds_go_stale_by_a_fault_and_are_fresh_after_its_cure(
    make_engine: Callable[..., Engine],
) -> None:
    """Side by side, each with an engine of its own: most of the time they wait."""
    engines = [make_engine(signals="novelty:objective") for _ in FAULTS]
    # The first has load alone.
    for engine in engines[1:]:
        engine.variables |= changed(engine.folder, *HASTY)
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
