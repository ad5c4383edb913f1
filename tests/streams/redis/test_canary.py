"""How a flush, or a failover that lost writes, is told from all else."""

import redis

from feedmill.streams.redis.canary import Canary
from feedmill.streams.redis.command_pipeline import Command
from feedmill.streams.redis.keys import Keys


def is_conditional(command: Command) -> bool:
    return "XX" in command


def value(command: Command) -> bytes:
    return str(command[2]).encode()


def test_the_key_is_made_once_and_then_only_kept() -> None:
    canary = Canary(Keys("x."))
    first = canary.command()
    assert str(first[1]).startswith("x.canary:")
    assert not is_conditional(first)
    assert not canary.shows_flush(b"OK")
    last = first
    for _ in range(3):
        command = canary.command()
        assert is_conditional(command)
        assert not canary.shows_flush(value(last))
        last = command


def test_a_missing_key_shows_a_flush_once() -> None:
    canary = Canary(Keys(""))
    canary.command()
    canary.shows_flush(b"OK")
    canary.command()
    assert canary.shows_flush(None)
    assert not is_conditional(canary.command())
    assert not canary.shows_flush(b"OK")
    assert is_conditional(canary.command())


def test_an_older_value_shows_that_writes_were_lost() -> None:
    canary = Canary(Keys(""))
    commands = []
    for _ in range(4):
        commands.append(canary.command())
        before = value(commands[-2]) if len(commands) > 1 else b"OK"
        assert not canary.shows_flush(before)
    canary.command()
    assert canary.shows_flush(value(commands[-2]))  # a replica without the last round trip


def test_an_error_shows_nothing_and_is_no_acknowledgement() -> None:
    canary = Canary(Keys(""))
    first = canary.command()
    canary.shows_flush(b"OK")
    unanswered = canary.command()
    assert not canary.shows_flush(redis.ConnectionError("away"))
    # Redis may have executed what it did not answer, or may not.
    for held in (value(first), value(unanswered)):
        again = Canary(Keys(""))
        again.command()
        again.shows_flush(b"OK")
        again.command()
        again.shows_flush(redis.ConnectionError("away"))
        again.command()
        assert not again.shows_flush(held)


def test_two_runs_have_two_keys() -> None:
    assert Canary(Keys("")).command()[1] != Canary(Keys("")).command()[1]
