"""Judges posts as a worker's steps do, in a process that the posts may end; see `JudgingChild`.

    JudgingTask ─► load, warm ─► READY;  JudgingRequest ─► BEGUN before each group of posts, DONE

faulthandler prints on standard error what was running when the process ended.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import msgspec

from feedmill.events.decode import decode_post
from feedmill.events.errors import BadEvent, FeedmillError
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.filters.hide_rate_guard import sources_of_all
from feedmill.models.artifact import local_copy
from feedmill.models.store_files import parse_store
from feedmill.streams.kafka.batch_headers import PassedBatch
from feedmill.streams.kafka.batches import Record
from feedmill.streams.releases.known_answers import AnyModel, values_by_text
from feedmill.streams.releases.loading import load_model, store_of

log = logging.getLogger(__name__)

READY, BEGUN, DONE = b"r", b"b", b"d"
EXIT_MEMORY = 77
_SAMPLE = Post("sample", "sample", 0, "A sample of plain text, to warm the models up.")
_COMMAND = (sys.executable, "-m", "feedmill.streams.poison.judging_process")
_START_S = 60.0
# How much later than the kernel's limits the worker itself ends the process.
_LATE_S = 10.0
# How many kills from outside one question survives.
_MOST_KILLS = 30
# No post causes these signals; Linux sends the first one where memory is short.
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
# Posts that are judged together: quick, and few to try singly if one of them ends the process.
CHUNK = 64


class Limits(msgspec.Struct, frozen=True):
    """What a group of posts may take; an ordinary post takes some milliseconds at most.

    Seconds of the processor and of time, and bytes of memory beside the models.
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
    """Answer requests from the file descriptor in the arguments, until its other end is closed."""
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
        groups = [(record,) for record in request.records] if request.singly else [request.records]
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
    """Let all models judge posts, and compute what else a worker computes of their texts.

    A model may raise: its signals would have the error, and the worker would go on.
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
    """Load the models of a task; end the process with a message if a model is missing."""
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
        # Where memory is short, Linux shall end this process, not the worker.
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    most = pages * resource.getpagesize() + limits.memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _begin_time(limits: Limits) -> None:
    """Let the kernel end this process when the time of a group is over."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + limits.processor_s
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_REAL, limits.wall_s)


class CannotTryError(Exception):
    """The process does not start, or other processes end it again and again."""


class Ended(NamedTuple):
    """The place in the request of the record at which the process ended, and why it ended."""

    place: int
    reason: str


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    pipe: Connection


class JudgingChild:
    """Starts the process when it is needed, and again after it has ended; one thread uses it.

    `task` returns what the process loads at each start.  Any thread may call `close`, which ends
    the process and every call that waits for its answer.
    """

    def __init__(self, task: Callable[[], JudgingTask]) -> None:
        self._task = task
        self._limits = Limits()
        self._is_late = False
        self._child: _Child | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def judge(self, records: Sequence[Record], *, singly: bool) -> Ended | None:
        """Let the process judge posts together, or singly; return how they ended it, None if not.

        Raises `CannotTryError`: the process cannot judge: it does not start, or others end it.
        """
        # A `PassedBatch` has no text to judge.
        values = (
            None if isinstance(record.value, PassedBatch) else record.value for record in records
        )
        keys = (record.key for record in records)
        request = JudgingRequest(tuple(zip(keys, values, strict=True)), singly=singly)
        for _ in range(_MOST_KILLS):
            kills = _kills_for_memory()
            child = self._started()
            begun = self._answer(child, request)
            if begun is None:
                return None
            code = child.process.wait()
            with self._lock:
                self._child = None
            if self._is_closed:
                break
            is_ours = self._is_late or -code not in _FROM_OUTSIDE
            if is_ours or _kills_for_memory() > kills:
                return Ended(max(0, begun - 1), self._reason(code))
            log.warning("a trial of posts was ended by signal %d from outside: once more", -code)
        raise CannotTryError("it was ended from outside")

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._child is not None:
                self._child.process.kill()
                self._child.process.wait()

    def _started(self) -> _Child:
        if self._child is not None:
            return self._child
        task = self._task()
        self._limits = task.limits
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        pipe, theirs = Pipe()
        with theirs, self._lock:
            if self._is_closed:
                raise CannotTryError("the worker stops")
            process = subprocess.Popen(
                (*_COMMAND, str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                stdout=2,  # What a model prints must not mix with answers.
                pass_fds=(theirs.fileno(),),
                env=environment,
                start_new_session=True,
            )
            self._child = child = _Child(process, pipe)
        _send(pipe, task)
        if _next_answer(pipe, _START_S) != READY:
            self._give_up(child)
            raise CannotTryError("the process that judges posts does not start; see its log above")
        return child

    def _answer(self, child: _Child, request: JudgingRequest) -> int | None:
        """Return how many groups were begun when the process ended; None if it did not end."""
        _send(child.pipe, request)
        begun, most_s = 0, self._limits.wall_s + _LATE_S
        self._is_late = False
        while (answer := _next_answer(child.pipe, most_s)) == BEGUN:
            begun += 1
        if answer == DONE:
            return None
        if answer is None:
            # The kernel's limits did not end the process.
            self._is_late = True
            child.process.kill()
        return begun

    def _give_up(self, child: _Child) -> None:
        child.process.kill()
        child.process.wait()
        with self._lock:
            self._child = None

    def _reason(self, code: int) -> str:
        limits = self._limits
        if self._is_late or -code == signal.SIGALRM:
            return f"it takes longer than {limits.wall_s:g} s"
        if code == EXIT_MEMORY or -code == signal.SIGKILL:
            return f"it takes more than {limits.memory >> 20} MiB"
        if -code == signal.SIGXCPU:
            return f"it takes more than {limits.processor_s} s of processor"
        if code < 0:
            return f"it ends the process with {signal.Signals(-code).name}"
        return f"it ends the process with exit code {code}"


class PoisonRecord(NamedTuple):
    """A record that ends each process that judges it, and how it does."""

    record: Record
    reason: str


def find_poison(
    records: Sequence[Record], judge: Callable[..., Ended | None]
) -> Iterator[PoisonRecord]:
    """Yield the records that end the process twice: once together with others, once alone.

    `judge` as `JudgingChild.judge`.
    """
    for first in range(0, len(records), CHUNK):
        chunk = records[first : first + CHUNK]
        while chunk and judge(chunk, singly=False) is not None:
            ended = judge(chunk, singly=True)
            if ended is None:
                # Only together the posts took too much, or something else ended the process.
                break
            yield PoisonRecord(chunk[ended.place], ended.reason)
            chunk = chunk[ended.place + 1 :]


def _send(pipe: Connection, message: msgspec.Struct) -> None:
    # If the process has ended, the next call that waits for its answer notices.
    with suppress(ConnectionError):
        pipe.send_bytes(msgspec.msgpack.encode(message))


def _next_answer(pipe: Connection, most_s: float) -> bytes | None:
    """Return the next answer; b"" if the process has ended, None if none came in this time."""
    try:
        return pipe.recv_bytes() if pipe.poll(most_s) else None
    except (EOFError, ConnectionError):
        return b""


def _kills_for_memory() -> int:
    """Return how many processes Linux has ended since its start because memory was short."""
    try:
        counts = Path("/proc/vmstat").read_text("ascii").split()
    except OSError:
        return 0
    return int(counts[counts.index("oom_kill") + 1]) if "oom_kill" in counts else 0


if __name__ == "__main__":
    main()
