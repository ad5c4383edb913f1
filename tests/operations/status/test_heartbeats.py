"""Who starts, who is in a rebalance and who was replaced, by heartbeats that follow each other."""

from collections.abc import Iterable
from typing import Any

import msgspec

from builders.events import heartbeat
from feedmill.events.instance import Instance, PartitionLag
from feedmill.operations.status.heartbeats import Beat, Running, next_beat, without_replaced
from feedmill.operations.status.installation import Installation, examine
from feedmill.operations.status.workers import engine, feeds
from feedmill.streams.environment import Environment

S = 1000
WAITS: dict[str, Any] = {"ready": False, "reason": "waiting for partitions"}


def said(name: str = "one", *partitions: int, pid: int = 1, **more: Any) -> Instance:
    lags = tuple(PartitionLag("posts", p, 0) for p in partitions)
    return heartbeat("spam", name, group="worker", host="h", pid=pid, partitions=lags, **more)


def last(*beats: tuple[int, Instance]) -> Beat:
    """The last beat after some heartbeats of one key, each with its second."""
    found = None
    for at_s, instance in beats:
        found = next_beat(found, msgspec.structs.replace(instance, at_ms=at_s * S), at_s * S)
    assert found is not None
    return found


def doing(now_s: int, *beats: Beat) -> dict[str, str]:
    return dict(Running(now_s * S, beats).settling)


STARTS = (100, said(ready=False, reason="starting"))


def test_a_start_ends_once_it_is_ready_and_says_the_same_twice() -> None:
    assert doing(108, last(STARTS)) == {"one": "starting for 8 s"}
    restores = (105, said("one", 0, ready=False, reason="reading posts, 5 of 9"))
    assert doing(112, last(STARTS, restores)) == {"one": "starting for 12 s"}
    # The first heartbeat of one that is ready may not name all that it has.
    ready = (110, said("one", 0))
    assert doing(112, last(STARTS, restores, ready)) == {"one": "starting for 12 s"}
    more, same = (115, said("one", 0, 1)), (120, said("one", 0, 1))
    assert doing(120, last(STARTS, restores, ready, more)) == {"one": "starting for 20 s"}
    assert doing(120, last(STARTS, restores, ready, more, same)) == {}


def test_a_rebalance_is_known_by_its_reason_or_by_other_partitions() -> None:
    was = (100, said("one", 0, 1)), (105, said("one", 0, 1))
    assert doing(106, last(*was)) == {}
    waits = (110, said("one", 0, 1, **WAITS))
    assert doing(114, last(*was, waits)) == {"one": "rebalancing for 4 s"}
    other = (115, said("one", 1, ready=False, reason="claiming shards of feeds"))
    assert doing(118, last(*was, waits, other)) == {"one": "rebalancing for 8 s"}
    assert doing(118, last(*was, other)) == {"one": "rebalancing for 3 s"}
    # Somebody who is not ready for another reason, with what he had, is not.
    assert doing(118, last(*was, (115, said("one", 0, 1, ready=False, reason="Redis: away")))) == {}


def test_what_takes_longer_than_a_minute_is_a_fault() -> None:
    beats = [STARTS, *((at, said(**WAITS)) for at in range(105, 166, 5))]
    assert doing(160, last(*beats[:-1])) == {"one": "starting for 60 s"}
    assert doing(166, last(*beats)) == {}


def test_who_was_replaced_is_gone_once_others_have_what_it_had() -> None:
    dead = last((100, said("dead", 0)))
    new = last((106, said("new", pid=2, **WAITS)), (109, said("new", pid=2, **WAITS)))
    lives = last((90, said("lives", 1, pid=3)), (108, said("lives", 1, pid=3)))

    def named(*beats: Beat, now_s: int = 110) -> list[str]:
        return [beat.instance.instance for beat in without_replaced(beats, now_s * S)]

    assert named(dead, new, lives) == ["dead", "new", "lives"]
    has = last((106, said("new", pid=2, **WAITS)), (109, said("new", 0, pid=2)))
    assert named(dead, has, lives) == ["new", "lives"]
    # It may have been late by one heartbeat, and nobody took its place.
    assert named(dead, has, now_s=107) == ["dead", "new"]
    took_over = last((90, said("lives", 1, pid=3)), (108, said("lives", 0, 1, pid=3)))
    assert named(dead, took_over) == ["dead", "lives"]
    # One after another.
    again = last((118, said("again", 0, pid=4)))
    assert named(dead, has, again, now_s=120) == ["again"]
    # What a later rebalance takes away does not bring it back.
    later = last((106, said("new", pid=2)), (165, said("new", pid=2, **WAITS)))
    assert named(dead, later, now_s=170) == ["new"]


def found(beats: Iterable[Beat], now_s: int) -> list[tuple[str, str, str]]:
    inst = Installation(Environment(), {}, lambda: now_s * S)
    answers = {"running": Running(now_s * S, tuple(beats)), "feeds": (), "redis_nodes": ()}
    vars(inst).update(answers, counts={"posts": 4}, unanswered={}, groups={}, bounds={})
    made = examine(inst, (engine, feeds)).findings
    return [(one.severity, one.what, one.way_out) for one in made]


def test_a_start_is_nothing_wrong_and_says_to_wait() -> None:
    assert found([last(STARTS)], 108) == [
        ("warn", "starting for 8 s (starting)", "wait"),
        ("warn", "no feed under the prefix ''", "wait"),
    ]
    assert "wrong" in {severity for severity, _, _ in found([last(STARTS)], 111 + 60)}
