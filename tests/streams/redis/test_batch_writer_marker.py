"""How a flush, or a failover that lost writes, is told from all else."""

import redis

from feedmill.streams.redis.batch_writer import FlushMarker
from feedmill.streams.redis.commands import Command, Keys


def is_conditional(command: Command) -> bool:
    return "XX" in command


def value(command: Command) -> bytes:
    return str(command[2]).encode()


def test_the_key_is_made_once_and_then_only_kept() -> None:
    marker = FlushMarker(Keys("x."))
    first = marker.command()
    assert str(first[1]).startswith("x.flush-marker:")
    assert not is_conditional(first)
    assert not marker.shows_flush(b"OK")
    last = first
    for _ in range(3):
        command = marker.command()
        assert is_conditional(command)
        assert not marker.shows_flush(value(last))
        last = command


def test_a_missing_key_shows_a_flush_once() -> None:
    marker = FlushMarker(Keys(""))
    marker.command()
    marker.shows_flush(b"OK")
    marker.command()
    assert marker.shows_flush(None)
    assert not is_conditional(marker.command())
    assert not marker.shows_flush(b"OK")
    assert is_conditional(marker.command())


def test_an_older_value_shows_that_writes_were_lost() -> None:
    marker = FlushMarker(Keys(""))
    commands = []
    for _ in range(4):
        commands.append(marker.command())
        before = value(commands[-2]) if len(commands) > 1 else b"OK"
        assert not marker.shows_flush(before)
    marker.command()
    assert marker.shows_flush(value(commands[-2]))  # a replica without the last round trip


def test_an_error_shows_nothing_and_is_no_acknowledgement() -> None:
    marker = FlushMarker(Keys(""))
    first = marker.command()
    marker.shows_flush(b"OK")
    unanswered = marker.command()
    assert not marker.shows_flush(redis.ConnectionError("away"))
    # Redis may have executed what it did not answer, or may not.
    for held in (value(first), value(unanswered)):
        again = FlushMarker(Keys(""))
        again.command()
        again.shows_flush(b"OK")
        again.command()
        again.shows_flush(redis.ConnectionError("away"))
        again.command()
        assert not again.shows_flush(held)


def test_two_runs_have_two_keys() -> None:
    assert FlushMarker(Keys("")).command()[1] != FlushMarker(Keys("")).command()[1]
