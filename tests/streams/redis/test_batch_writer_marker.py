"""How a failover that lost writes is told from all else; a flush: test_writer_thread."""

import redis

from feedmill.streams.redis.batch_writer import FlushMarker
from feedmill.streams.redis.commands import Command, Keys


def kept() -> tuple[FlushMarker, list[Command]]:
    """A marker that Redis has, and the round trips so far, the last one not answered."""
    marker = FlushMarker(Keys("x."))
    commands = [marker.command()]
    assert not marker.shows_flush(b"OK")
    for _ in range(3):
        commands.append(marker.command())
        assert not marker.shows_flush(value(commands[-2]))
    return marker, [*commands, marker.command()]


def value(command: Command) -> bytes:
    return str(command[2]).encode()


def test_an_older_value_shows_that_writes_were_lost() -> None:
    marker, commands = kept()
    assert marker.shows_flush(value(commands[-3]))  # a replica without the last round trip
    assert {command[1] for command in commands} != {kept()[1][0][1]}, "two runs have two keys"


def test_an_error_shows_nothing_and_is_no_acknowledgement() -> None:
    # Redis may have executed what it did not answer, or may not.
    for at in (-2, -1):
        marker, commands = kept()
        assert not marker.shows_flush(redis.ConnectionError("away"))
        marker.command()
        assert not marker.shows_flush(value(commands[at]))
