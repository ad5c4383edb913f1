"""The process that holds the combiner's view, as the pages' threads see it."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO, Any

import msgspec

from feedmill.console.routes import Console
from feedmill.console.view_messages import (
    Answer,
    Ask,
    AuthorAsk,
    GatesAsk,
    GatesResult,
    PileAsk,
    PostsResult,
    PreviewAsk,
    PreviewResult,
    Question,
    Reading,
)
from feedmill.events.errors import FeedmillError
from feedmill.streams.environment import environment_variables

_COMMAND = (sys.executable, "-m", "feedmill.console.view_process")
# A process that did not live for so long is not started again at once.
_RESTART_S = 5.0
_ANSWER_S = 10.0
_RESULTS: dict[type[Any], type[Any]] = {
    PreviewAsk: PreviewResult,
    GatesAsk: GatesResult,
    AuthorAsk: PostsResult,
    PileAsk: PostsResult,
}


class Superseded(Exception):
    """A newer question of the same page came: nobody waits for this answer."""


class ViewRefused(FeedmillError):
    """A setting that was asked about would be refused; the text is what `config set` says."""


@dataclass(frozen=True)
class Seen:
    """What the view answers, or why there is nothing yet.

    Attributes
    ----------
    result
        None while the view is being read.
    reading
        How far it is read.
    late
        Why the view does not follow Kafka; "" while it does.
    """

    result: Any = None
    reading: Reading | None = None
    late: str = ""


@dataclass
class _Waiting:
    page: str
    is_done: threading.Event = field(default_factory=threading.Event)
    answer: Answer | None = None
    is_superseded: bool = False


class View:
    """Asks the process, which it starts when a page needs it.  Any thread may call it."""

    def __init__(self, console: Console) -> None:
        self._environment = console.environment
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, _Waiting] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._started_s = -_RESTART_S
        self._ended = ""
        self._said: IO[bytes]

    def ask(self, page: str, ask: Ask) -> Seen:
        """Return what the view answers to a page; an older question of the page is superseded.

        Raises
        ------
        Superseded
            A newer question came.
        ViewRefused
            A setting would be refused.
        """
        number, waiting = next(self._numbers), _Waiting(page)
        with self._lock:
            if not self._is_running():
                return Seen(reading=Reading("starting", 0, 0), late=self._ended)
            for older in self._waiting.values():
                if older.page == page:
                    older.is_superseded = True
                    older.is_done.set()
            self._waiting[number] = waiting
            question = msgspec.msgpack.encode(Question(number, page, ask))
            if self._pipe is not None:
                with contextlib.suppress(OSError):
                    self._pipe.send_bytes(question)
        waiting.is_done.wait(_ANSWER_S)
        with self._lock:
            self._waiting.pop(number, None)
        if waiting.is_superseded and waiting.answer is None:
            raise Superseded
        return _seen(ask, waiting.answer)

    def _is_running(self) -> bool:
        """Start the process unless it runs, or ended just now."""
        if self._process is not None and self._process.poll() is None:
            return True
        if time.monotonic() < self._started_s + _RESTART_S:
            return False
        self._started_s = time.monotonic()
        mine, its = Pipe()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        variables = {**os.environ, **environment_variables(self._environment)}
        self._process = subprocess.Popen(
            (*_COMMAND, str(its.fileno())),
            pass_fds=(its.fileno(),),
            env=variables,
            stdin=subprocess.DEVNULL,
            stderr=self._said,
        )
        its.close()
        self._pipe = mine
        threading.Thread(
            target=self._receive, args=(mine, self._process), name="view", daemon=True
        ).start()
        return True

    def _receive(self, pipe: Connection, process: subprocess.Popen[bytes]) -> None:
        """Hand answers to those who wait, until the process ends."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                answer = msgspec.msgpack.decode(pipe.recv_bytes(), type=Answer)
                with self._lock:
                    waiting = self._waiting.get(answer.number)
                if waiting is not None:
                    waiting.answer = answer
                    waiting.is_done.set()
        process.wait()
        pipe.close()
        with self._lock:
            self._said.seek(0)
            said = self._said.read().decode("utf-8", "replace")
            self._said.close()
            # The last line of a traceback says what went wrong.
            self._ended = said.strip().rpartition("\n")[2].partition(": ")[2]
            for waiting in self._waiting.values():
                waiting.is_done.set()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            process, self._started_s = self._process, time.monotonic() + 3600
        if process is not None and process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
                return
            process.kill()


def _seen(ask: Ask, answer: Answer | None) -> Seen:
    if answer is None:
        return Seen(reading=Reading("busy", 0, 0))
    if answer.refusal:
        raise ViewRefused(answer.refusal)
    if answer.reading is not None:
        return Seen(reading=answer.reading, late=answer.late)
    result = msgspec.msgpack.decode(answer.result, type=_RESULTS[type(ask)])
    return Seen(result, late=answer.late)
