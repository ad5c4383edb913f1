"""Which keys scripts write in Redis, as its MONITOR shows them."""

import contextlib
import threading
import uuid
from collections import Counter
from collections.abc import Iterator

from builders.own_redis import OwnRedis


@contextlib.contextmanager
def watched_writes(redis: OwnRedis) -> Iterator[Counter[str]]:
    """How often each key was written to by a script while the block ran; full at its end.

    What a test does by plain commands is not counted.
    """
    written, mark = Counter[str](), f"end-{uuid.uuid4().hex}"
    client = redis.client()
    with client.monitor() as monitor:

        def listen() -> None:
            while mark not in (command := monitor.next_command()["command"]):
                words = command.split()
                if words[0].upper() == "EVALSHA":
                    written.update(words[3 : 3 + int(words[2])])

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield written
        finally:
            client.echo(mark)
            thread.join()
