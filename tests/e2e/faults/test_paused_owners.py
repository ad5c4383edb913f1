"""An owner that was paused: what it still has in hand loses against what its successor wrote.

A paused process keeps its memory, its open transaction and its connections.  Kafka takes its
partitions away after the session timeout; when it goes on, it finishes what it was about to do.
"""

import threading
from collections.abc import Callable, Sequence

from builders.engine_topics import post_of
from builders.fault_engine import ALL_STAGES, FaultEngine, go_on
from builders.own_redis import OwnRedis
from builders.waiting import in_background, until

STATE = ("counters", "signals.engagement")
POSTS = [f"boat-{n}" for n in range(24)]
# Written to afterwards: Kafka compacts what stands before the last records of a partition.
LATER_POSTS = [f"raft-{n}" for n in range(24)]
RATE = 400
EXPELLED = "the group expelled this worker"


class Clicks:
    """Clicks on some posts in turn, and how many of them were sent."""

    def __init__(self, engine: FaultEngine, post_ids: Sequence[str]) -> None:
        self.sent = dict.fromkeys(post_ids, 0)
        self._engine = engine

    def send_until(self, stop: threading.Event) -> None:
        n, post_ids = 0, list(self.sent)
        while not stop.wait(1 / RATE):
            post_id = post_ids[n % len(post_ids)]
            self._engine.click(post_id, f"u{n}")
            self.sent[post_id] += 1
            n += 1

    def wait_for_more(self, each: int = 20) -> None:
        """Wait until each post got so many more."""
        before = self.sent.copy()
        until(lambda: all(self.sent[p] >= n + each for p, n in before.items()), 60)

    def counted(self) -> dict[str, int]:
        clicks = self._engine.clicks()
        return {post_id: clicks[post_id] for post_id in self.sent}


def test_counters_and_signals_of_a_paused_owner_lose(engine: FaultEngine) -> None:
    engine.compact_at_once(*STATE)
    first = engine.ready_worker("first")
    engine.posts(post_of(p, f"A trip by {p}") for p in (*POSTS, *LATER_POSTS))
    engine.wait_decided([*POSTS, *LATER_POSTS])
    clicks = Clicks(engine, POSTS)
    with in_background(clicks.send_until):
        clicks.wait_for_more()
        engine.pause_in_transaction(first, "counters")
        engine.ready_worker("second")
        clicks.wait_for_more()
    engine.producer.flush(30)
    until(lambda: clicks.counted() == clicks.sent, every=0.3)
    # It ends its transaction, learns that it was expelled, and joins again.  Nothing that its
    # successor writes comes after what it may write now.
    go_on(first)
    until(lambda: EXPELLED in first.log.read_text())
    until(lambda: first.log.read_text().count("assigned: ") > 1)
    later = Clicks(engine, LATER_POSTS)
    with in_background(later.send_until):
        later.wait_for_more()
    engine.producer.flush(30)
    until(lambda: later.counted() == later.sent, every=0.3)
    check_state(engine, clicks)

    # Compaction keeps the last record of each key: that of an old owner must not be it.
    with in_background(later.send_until):
        until(lambda: records(engine) == len(STATE) * len(POSTS), 60, every=0.5)
    check_state(engine, clicks)
    for worker in engine.workers.values():
        worker.stop()
    engine.restart(f"{ALL_STAGES}first")
    engine.wait_ready(f"{ALL_STAGES}first")
    check_state(engine, clicks)
    assert engine.complaints() == []


def records(engine: FaultEngine) -> int:
    """How many records of the posts are left on the topics of state."""
    keys = {post_id.encode() for post_id in POSTS}
    return sum(record.key in keys for record in engine.read_all(*STATE))


def check_state(engine: FaultEngine, clicks: Clicks) -> None:
    """Signals are those of the last event counted, and Redis shows them."""
    counters, signals = engine.latest("counters"), engine.latest("signals.engagement")
    for post_id in POSTS:
        assert counters[post_id]["counters"]["counts"][1] == clicks.sent[post_id]
        assert signals[post_id]["revision"] == counters[post_id]["through"]
    until(lambda: all(engine.truth(p)["engagement"]["value"] == signals[p]["value"] for p in POSTS))
    engine.check_feed()


def test_what_a_paused_owner_has_for_redis_loses(
    fault_engine: Callable[..., FaultEngine], own_redis: OwnRedis
) -> None:
    engine = fault_engine(redis=own_redis.url)
    first = engine.ready_worker("first")
    engine.wait_decided({"kept": engine.post("kept")})
    engine.hold_writes(own_redis, first, ["deleted", "hidden", "gone"])

    # While nobody owns it, and before any other worker knew of it.
    engine.send("posts", "gone", None).get(10)
    engine.ready_worker("second")
    engine.wait_shown("deleted")
    engine.wait_shown("hidden")
    engine.send("posts", "deleted", None).get(10)
    engine.hide("hidden")
    engine.wait_gone("deleted")
    engine.wait_gone("deleted", "community:deleted")
    engine.wait_gone("hidden")
    until(lambda: not engine.truth("deleted"))
    engine.wait_decision("hidden", "hide")
    owner = engine.feed()[1]["owner"]

    def has_lost() -> bool:
        """Whether the old owner has joined again; until then nothing of its comes back."""
        assert engine.order() == ["kept"]
        assert engine.truth("deleted") == engine.truth("gone") == {}
        assert engine.order("community:deleted") == []
        assert engine.truth("hidden")["decision"] == "hide"
        assert int(engine.feed()[1]["owner"]) >= int(owner)
        return EXPELLED in first.log.read_text()

    go_on(first)
    until(has_lost, 60)
    # It did try.
    until(lambda: engine.metric(first, "feedmill_redis_refused_total") > 0)
    # By its name it is the one to rank again: from what is true now, not from what it knew.
    until(lambda: has_lost() and int(engine.feed()[1]["owner"]) > int(owner))
    engine.wait_ready()
    assert has_lost()
    # It wrote a feed that its successor had never known of: owners notice, and remove it.
    until(lambda: not engine.feed("community:gone")[1])


def test_a_paused_owner_loses_after_a_flush_too(
    fault_engine: Callable[..., FaultEngine], own_redis: OwnRedis
) -> None:
    engine = fault_engine(redis=own_redis.url)
    first = engine.ready_worker("first")
    engine.wait_decided({"kept": engine.post("kept")})
    engine.hold_writes(own_redis, first, ["held"])
    engine.ready_worker("second")
    engine.wait_shown("held")
    own_redis.client().flushall()
    until(lambda: set(engine.order()) == {"kept", "held"})
    engine.hide("held")
    engine.wait_gone("held")
    engine.wait_decision("held", "hide")
    owner = int(engine.feed()[1]["owner"])

    def has_lost() -> bool:
        """Whether the old owner has joined again; until then nothing of its comes back."""
        assert engine.order() == ["kept"]
        assert engine.truth("held")["decision"] == "hide"
        assert int(engine.feed()[1]["owner"]) >= owner
        return EXPELLED in first.log.read_text()

    go_on(first)
    until(has_lost, 60)
    until(lambda: engine.metric(first, "feedmill_redis_refused_total") > 0)
    engine.wait_ready()
    assert has_lost()
