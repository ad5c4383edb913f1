"""Fault points in a worker: Python imports this first in a process with this folder on its path.

The file `$CHAOS_FAULT` names a signal and a point: `SIGSTOP before commit`.  The worker that comes
to the point next removes the file and sends the signal to itself.
"""

import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from feedmill.streams.kafka.commits import TransactionalWriter
from feedmill.streams.kafka.group import GroupConsumer
from feedmill.streams.kafka.transactional_producer import TransactionalProducer
from feedmill.streams.ranking.redis_handover import RedisHandover
from feedmill.streams.redis.batch_writer import BatchWriter
from feedmill.streams.worker.worker import Worker

# Every step of the loop and of its threads that reads or writes; each is a point before and after.
STEPS: dict[str, tuple[type, str]] = {
    "fetch posts": (GroupConsumer, "poll"),
    "fetch engagements": (GroupConsumer, "poll_beside"),
    "apply": (Worker, "_apply"),
    "assignment": (TransactionalWriter, "assigned"),
    "seal": (TransactionalWriter, "seal"),
    "transaction": (TransactionalProducer, "run"),
    "produce": (TransactionalProducer, "_produce"),
    "commit": (TransactionalProducer, "_finish"),
    "hand over to Redis": (RedisHandover, "write"),
    "write to Redis": (BatchWriter, "write"),
    "leave": (GroupConsumer, "_leave"),
}
POINTS = tuple(f"{moment} {step}" for step in STEPS for moment in ("before", "after"))
# Those that every worker comes to all the time: not only when partitions move, not only who ranks.
COMMON_POINTS = tuple(p for p in POINTS if not p.endswith(("assignment", "Redis", "leave")))


def _with_points(step: str, call: Callable[..., Any], fault: Path) -> Callable[..., Any]:
    @functools.wraps(call)
    def wrapped(*args: Any, **more: Any) -> Any:
        _arrive(f"before {step}", fault)
        answer = call(*args, **more)
        _arrive(f"after {step}", fault)
        return answer

    return wrapped


def _arrive(point: str, fault: Path) -> None:
    try:
        name, _, wanted = fault.read_text("utf-8").partition(" ")
        if wanted != point:
            return
        # Of two threads that come here at once, one removes it.
        fault.unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.Signals[name])


def _install(fault: Path) -> None:
    for step, (owner, method) in STEPS.items():
        setattr(owner, method, _with_points(step, getattr(owner, method), fault))


if "CHAOS_FAULT" in os.environ:
    _install(Path(os.environ["CHAOS_FAULT"]))
