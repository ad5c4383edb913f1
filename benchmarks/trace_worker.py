"""The way of one post, and of one change of weights, through a real worker, function by function.

    python benchmarks/trace_worker.py [--idle 20] [--only post] [--depth 3]

A worker runs in this process against servers of its own.  What it calls while nothing comes, and
is noted.  Then comes a post, and after it new weights.  Printed is what each calls beyond idle
cycles: the engine's own functions where they are first called, below their callers.  The last lines
count functions and files; comprehensions are left out, and what the checks of models call, which
come once a minute whatever was sent.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import msgspec
import redis
from confluent_kafka import Producer
from subjects import own_servers

from feedmill.streams.environment import Environment
from feedmill.streams.worker.worker import Worker
from feedmill.streams.worker_process import new_worker

ROOT = Path(__file__).parents[1]
OWN = tuple(str(ROOT / name) + "/" for name in ("tables", "events", "features", "models"))
OWN += tuple(str(ROOT / name) + "/" for name in ("filters", "rankers", "streams"))
CHECKS = str(ROOT / "streams" / "releases" / "known_answers.py")
WITHIN_S = 60.0
# A commit comes within half a second of what it commits; what follows it, soon after.
SETTLES_S = 2.0
FEED = "global"


@dataclass
class Call:
    """The first call of a function in a phase; `depth` counts callers that are printed too."""

    code: CodeType
    depth: int
    thread: str


@dataclass
class Way:
    """The functions of a phase, in the order of their first calls."""

    calls: dict[CodeType, Call] = field(default_factory=dict)

    def files(self) -> set[str]:
        return {call.code.co_filename for call in self.calls.values()}

    def show(self, depth: int) -> None:
        """Print what has fewer than `depth` callers that are printed too."""
        thread = ""
        for call in self.calls.values():
            if call.depth >= depth:
                continue
            if call.thread != thread:
                thread = call.thread
                print(f"-- {thread}")
            path = Path(call.code.co_filename).relative_to(ROOT)
            print(f"{'  ' * call.depth}{call.code.co_qualname}  {path}")


class Tracer:
    """Notes which of the engine's functions are called, in every thread that starts after it."""

    def __init__(self) -> None:
        self.idle = Way()
        self._way: Way | None = None

    def start(self) -> None:
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def watch(self, way: Way | None) -> None:
        """Note calls there from now on; nowhere where it is None."""
        self._way = way

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        way, code = self._way, frame.f_code
        if event != "call" or way is None or code in way.calls or not _is_own(code):
            return
        if way is not self.idle and code in self.idle.calls:
            return
        callers = [caller.f_code for caller in _callers(frame)]
        if any(caller.co_filename == CHECKS for caller in (code, *callers)):
            return
        depth = sum(caller in way.calls for caller in callers)
        way.calls[code] = Call(code, depth, threading.current_thread().name)


def _callers(frame: FrameType) -> Iterator[FrameType]:
    caller = frame.f_back
    while caller is not None:
        yield caller
        caller = caller.f_back


def _is_own(code: CodeType) -> bool:
    return code.co_filename.startswith(OWN) and not code.co_name.startswith("<")


class Visitor:
    """Sends a post and new weights from a thread of its own, which is not traced."""

    def __init__(
        self, worker: Worker, environment: Environment, tracer: Tracer, idle_s: float
    ) -> None:
        self.post, self.weights = Way(), Way()
        self.error: Exception | None = None
        self._worker, self._environment = worker, environment
        self._tracer, self._idle_s = tracer, idle_s
        settings = {"linger.ms": 0, "partitioner": "murmur2_random"}
        self._producer = Producer({"bootstrap.servers": environment.kafka, **settings})
        self._redis = redis.Redis.from_url(environment.redis, decode_responses=True)

    def run(self) -> None:
        sys.setprofile(None)
        try:
            self._visit()
        except Exception as error:  # noqa: BLE001 - told by `main`, when the worker has stopped
            self.error = error
        finally:
            self._worker.stopping.set()

    def _visit(self) -> None:
        self._wait("the worker is ready", lambda: not self._worker.status.ready_reason())
        self._send_post("first")
        self._send_weights(0.25)
        time.sleep(SETTLES_S)
        self._tracer.watch(self._tracer.idle)
        time.sleep(self._idle_s)
        for way, send in ((self.post, self._send_second), (self.weights, self._send_new_weights)):
            self._tracer.watch(way)
            send()
            time.sleep(SETTLES_S)
            self._tracer.watch(self._tracer.idle)

    def _send_second(self) -> None:
        self._send_post("second")

    def _send_new_weights(self) -> None:
        self._send_weights(4.0)

    def _send_post(self, post_id: str) -> None:
        post = {
            "post_id": post_id,
            "author_id": f"author-of-{post_id}",
            "created_at_ms": int(time.time() * 1000),
            "text": f"The {post_id} walk by the river, and what we saw there on the way home",
        }
        self._produce("posts", post_id, post)
        self._wait("the feed has the post", lambda: self._score(post_id) is not None)

    def _send_weights(self, quality: float) -> None:
        before = self._score("first")
        weights = {"quality": quality, "engagement": 1.0}
        self._produce("config", f"weights/{FEED}", {"value": weights})
        self._wait("the feed has the weights", lambda: self._score("first") != before)

    def _score(self, post_id: str) -> Any:
        return self._redis.zscore(f"{self._environment.redis_prefix}feed:{{{FEED}}}", post_id)

    def _produce(self, topic: str, key: str, value: object) -> None:
        name, settings = self._environment.topic(topic), {"key": key.encode()}
        self._producer.produce(name, value=msgspec.json.encode(value), **settings)
        self._producer.flush()

    def _wait(self, what: str, is_so: Callable[[], object]) -> None:
        end = time.monotonic() + WITHIN_S
        while not is_so():
            if time.monotonic() > end:
                raise TimeoutError(f"not within {WITHIN_S:.0f} s: {what}")
            time.sleep(0.01)


def trace(environment: Environment, idle_s: float) -> tuple[Way, Way]:
    """Run a worker in this thread until both have gone their way; return those of both."""
    tracer = Tracer()
    tracer.start()
    worker = new_worker((), environment)
    visitor = Visitor(worker, environment, tracer, idle_s)
    thread = threading.Thread(target=visitor.run, name="visitor", daemon=True)
    thread.start()
    worker.run()
    thread.join(WITHIN_S)
    if visitor.error is not None:
        raise visitor.error
    return visitor.post, visitor.weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--idle",
        type=float,
        default=75.0,
        help="seconds of idle cycles: a round of checks of models takes 55",
    )
    parser.add_argument("--only", choices=("post", "weights"), help="print one way")
    parser.add_argument("--depth", type=int, default=100, help="print so many levels of calls")
    arguments = parser.parse_args()
    with own_servers() as environment:
        ways = dict(zip(("post", "weights"), trace(environment, arguments.idle), strict=True))
    for name, way in ways.items():
        if arguments.only in (name, None):
            print(f"== {name}")
            way.show(arguments.depth)
    for name, way in ways.items():
        print(f"{name}: {len(way.calls)} functions in {len(way.files())} files")


if __name__ == "__main__":
    main()
