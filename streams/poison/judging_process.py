"""Judges posts as a worker's steps do, in a process that they may end: `JudgingChild` starts it.

    JudgingTask ─► load, warm ─► READY;  JudgingRequest ─► BEGUN before each group of posts, DONE

faulthandler says on standard error what was running at the end.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from feedmill.events.decode import decode_post
from feedmill.events.errors import BadEvent, FeedmillError
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.filters.hide_rate_guard import sources_of_all
from feedmill.models.store import local_copy
from feedmill.models.store_files import parse_store
from feedmill.streams.releases.known_answers import AnyModel, values_by_text
from feedmill.streams.releases.loading import load_model, store_of

READY, BEGUN, DONE = b"r", b"b", b"d"
EXIT_MEMORY = 77
_SAMPLE = Post("sample", "sample", 0, "A sample of plain text, to warm the models up.")


class Limits(msgspec.Struct, frozen=True):
    """What a group of posts may take; an ordinary post takes some milliseconds at most.

    Attributes
    ----------
    processor_s, wall_s
        Seconds of the processor, and of time.
    memory
        Bytes beside what the models take.
    """

    processor_s: int = 5
    wall_s: float = 10.0
    memory: int = 1 << 30


class JudgingTask(msgspec.Struct, frozen=True):
    """By which models to judge, each by its name and sha256, and from which store."""

    models: tuple[tuple[str, str], ...]
    store: str = ""
    limits: Limits = Limits()


class JudgingRequest(msgspec.Struct, frozen=True):
    """Keys and values of records of `posts`, to be judged together or one by one."""

    records: tuple[tuple[bytes | None, bytes | None], ...]
    singly: bool = False


def main() -> None:
    """Answer requests by the file descriptor in the arguments, until its other end is closed."""
    with contextlib.suppress(EOFError):
        _serve(Connection(int(sys.argv[1])))


def _serve(worker: Connection) -> None:
    task = msgspec.msgpack.decode(worker.recv_bytes(), type=JudgingTask)
    faulthandler.enable()
    for number in (signal.SIGXCPU, signal.SIGALRM):
        faulthandler.register(number, chain=True)
    models = _models(task)
    judge(models, [_SAMPLE])
    _limit_memory(task.limits)
    worker.send_bytes(READY)
    while True:
        request = msgspec.msgpack.decode(worker.recv_bytes(), type=JudgingRequest)
        groups = [(one,) for one in request.records] if request.singly else [request.records]
        for group in groups:
            worker.send_bytes(BEGUN)
            _begin_time(task.limits)
            try:
                judge(models, _posts(group))
            except MemoryError:
                os._exit(EXIT_MEMORY)
            signal.setitimer(signal.ITIMER_REAL, 0)
        worker.send_bytes(DONE)


def judge(models: Sequence[AnyModel], posts: Sequence[Post]) -> None:
    """Have all models judge posts, and make what else a worker computes of their texts.

    A model that raises is no matter here: its signal says so.
    """
    batch = PostBatch(posts)
    for model in models if posts else ():
        try:
            values_by_text(model, batch)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001, S112 - see above
            continue
    batch.computed(sources_of_all)
    if posts:
        _ = batch.signatures


def _models(task: JudgingTask) -> list[AnyModel]:
    """Load the models of a task; ends the process with a word where one is not there."""
    store, models = parse_store(task.store) if task.store else None, []
    try:
        for name, sha256 in task.models:
            with local_copy(store_of(name, store, sha256), name, sha256) as folder:
                models.append(load_model(name, folder, sha256))
    except FeedmillError as error:
        sys.exit(f"posts cannot be tried: {error}")
    return models


def _posts(records: Sequence[tuple[bytes | None, bytes | None]]) -> list[Post]:
    """Return the valid posts among records."""
    posts = []
    for key, value in records:
        with contextlib.suppress(BadEvent):
            event = decode_post(key, value)
            if isinstance(event, Post):
                posts.append(event)
    return posts


def _limit_memory(limits: Limits) -> None:
    with contextlib.suppress(OSError):
        # Where memory is short Linux ends this process, not the worker.
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    most = pages * resource.getpagesize() + limits.memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _begin_time(limits: Limits) -> None:
    """Have the kernel end this process when the time of a group is over, whatever it does."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + limits.processor_s
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_REAL, limits.wall_s)


if __name__ == "__main__":
    main()
