"""Commands in one round trip: each has its own answer, also when the connection breaks halfway."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from builders.own_redis import OwnRedis
from feedmill.events.errors import FeedmillError
from feedmill.streams.redis.pipelines import CommandPipeline, is_broken, open_pipeline


@pytest.mark.stack
def test_each_command_has_its_own_answer(own_redis: OwnRedis) -> None:
    pipeline = open_pipeline(own_redis.url)
    answers = pipeline.execute(
        [
            ["SET", "a", "späße"],
            ["INCRBY", "a", 1],
            ["INCRBY", "n", -5],
            ["GET", b"a"],
            ["GET", "none"],
            ["SET", "empty", ""],
            ["NOSUCHCOMMAND"],
            ["SET", "long", "é" * 200],
            ["GET", "long"],
            ["GET", "empty"],
        ]
    )
    assert (answers[0], answers[2], answers[3]) == (b"OK", -5, "späße".encode())
    assert (answers[4], answers[5]) == (None, b"OK")
    assert isinstance(answers[1], redis.ResponseError)
    assert isinstance(answers[6], redis.ResponseError)
    assert answers[8] == ("é" * 200).encode()
    assert answers[9:] == [b""]
    assert pipeline.execute([]) == []
    pipeline.close()


@contextmanager
def server_that_answers(answers: bytes) -> Iterator[str]:
    """Says this to whoever sends something, and hangs up."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(answers)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"
        thread.join()


@pytest.mark.parametrize(
    ("said", "answered"), [(b"+OK\r\n:1\r\n", [b"OK", 1]), (b"", []), (b"?what\r\n", [])]
)
def test_answers_that_came_before_the_end_are_kept(said: bytes, answered: list[object]) -> None:
    with server_that_answers(said) as url:
        client = redis.Redis.from_url(url, protocol=2, driver_info=None)
        answers = CommandPipeline(client).execute([["SET", "a", "b"], ["INCR", "c"], ["INCR", "d"]])
    assert answers[: len(answered)] == answered
    assert len(answers) == 3
    assert all(is_broken(answer) for answer in answers[len(answered) :])


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(FeedmillError, match="Redis: "):
        open_pipeline("http://127.0.0.1")
