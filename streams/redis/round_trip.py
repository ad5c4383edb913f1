"""The commands of a round trip to Redis, what its answers mean, and when to write again."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis
from redis.exceptions import MovedError

from feedmill.streams.redis.pipelines import is_broken
from feedmill.streams.redis.scripts import Command
from feedmill.streams.redis.write_batch import WriteReport

AnswerHandler = Callable[[Any], None]

# What Redis answers when no key can be written, whichever it is.
_OF_THE_SERVER: Final = (
    *("LOADING", "READONLY", "MASTERDOWN", "MISCONF", "NOREPLICAS", "BUSY"),
    *("CLUSTERDOWN", "MOVED"),
)

# How it answers a command that needs memory, when it has reached its limit.
OUT_OF_MEMORY: Final = "OOM"

# How it answers a user who may not call a command, or use a key or a channel.
NO_RIGHT: Final = "NOPERM"
# How it says the same of what a script calls, under the code ERR.
_NO_RIGHT_IN_SCRIPT: Final = "The user executing the script can't "

# The error that counts each time that Redis is asked whether it takes writes again, and does not.
AWAY: Final = "AWAY"


class RoundTrip:
    """Gathers commands, and who takes the answer to each.

    Attributes
    ----------
    unwritten
        How many changes Redis does not show afterwards.
    waves
        Where commands begin that run after all before them, whichever server has their keys.
    """

    def __init__(self, report: WriteReport, now_s: float) -> None:
        self.commands: list[Command] = []
        self.report = report
        self.now_s = now_s
        self.unwritten = 0
        self.waves: list[int] = []
        self._handlers: list[tuple[int, AnswerHandler]] = []  # 0: of a single command

    def add(self, command: Command, handler: AnswerHandler) -> None:
        """Send this command, and call the handler with its answer."""
        self.commands.append(command)
        self._handlers.append((0, handler))

    def add_many(self, commands: Sequence[Command], handler: AnswerHandler) -> None:
        """Send these commands, and call the handler once with the list of their answers."""
        if commands:
            self.commands += commands
            self._handlers.append((len(commands), handler))

    def begin_wave(self) -> None:
        """Have what is added from here on executed after all that was added before."""
        if self.commands:
            self.waves.append(len(self.commands))

    def answered(self, answers: Sequence[Any]) -> None:
        """Hand the answers, one for each command, to the handlers, in order; once."""
        # Handlers refer to the trip.  Were they kept, only the collector of garbage could free it
        # with all its changes, and each of its runs would hold the loop for some 10 ms.
        handlers, self._handlers = self._handlers, []
        start = 0
        for count, handler in handlers:
            handler(answers[start : start + count] if count else answers[start])
            start += count or 1

    def count_error(self, answer: Any) -> None:
        """Count the answer if it is an error."""
        if isinstance(answer, redis.RedisError):
            self.report.errors[error_code(answer)] += 1


def is_of_the_server(answer: object) -> bool:
    """Whether this answer says that Redis takes no write at all, whatever the key."""
    if is_broken(answer):
        return True
    return isinstance(answer, redis.RedisError) and error_code(answer) in _OF_THE_SERVER


def is_out_of_memory(answer: object) -> bool:
    """Whether Redis refused a command that needs memory, and would take one that frees some."""
    return isinstance(answer, redis.RedisError) and error_code(answer) == OUT_OF_MEMORY


def error_code(error: redis.RedisError) -> str:
    """Redis' code of an error, such as OOM; else the kind of the error."""
    if str(error).startswith(_NO_RIGHT_IN_SCRIPT):
        return NO_RIGHT
    if error.status_code:
        return error.status_code
    if isinstance(error, MovedError):
        return "MOVED"
    first = str(error).partition(" ")[0]
    return first if first.isupper() else type(error).__name__


def error_text(error: redis.RedisError) -> str:
    """The error as a person reads it, its code first."""
    code, text = error_code(error), str(error)
    if isinstance(error, MovedError):
        text = f"MOVED {text}: a node of a cluster; its address is redis+cluster://host:port"
    return text if text.startswith(code) else f"{code} {text}"


FIRST_RETRY_S: Final = 0.25
LAST_RETRY_S: Final = 5.0
# An entry that was never written again after so long: its feed or post is another owner's by now.
FORGOTTEN_AFTER_S: Final = 60.0


@dataclass
class _Retry:
    attempts: int
    due_s: float
    handed_out: bool = False


class RetrySchedule:
    """The names that failed, each with its own back-off.  Times are seconds of one clock.

    A name stays from its first failure until `succeeded`, handed out or not.
    """

    def __init__(self) -> None:
        self._retries: dict[str, _Retry] = {}
        self._events: list[tuple[float, str]] = []

    def __contains__(self, name: str) -> bool:
        return name in self._retries

    def __len__(self) -> int:
        return len(self._retries)

    def failed(self, name: str, now_s: float, *, at_once: bool = False) -> None:
        """Have a name handed out again: later after every failure, or `at_once`."""
        before = self._retries.get(name)
        attempts = 0 if before is None else before.attempts
        wait_s = 0.0 if at_once else min(FIRST_RETRY_S * 2.0**attempts, LAST_RETRY_S)
        due_s = now_s + wait_s
        self._retries[name] = _Retry(attempts if at_once else min(attempts + 1, 16), due_s)
        heapq.heappush(self._events, (due_s, name))

    def succeeded(self, name: str) -> None:
        """Forget a name that was written, or that nobody needs to write any more."""
        self._retries.pop(name, None)

    def take_due(self, now_s: float) -> list[str]:
        """Return the names to write again now; each failure is handed out once."""
        due = []
        while self._events and self._events[0][0] <= now_s:
            at_s, name = heapq.heappop(self._events)
            retry = self._retries.get(name)
            if retry is None:
                continue
            if not retry.handed_out and at_s == retry.due_s:
                retry.handed_out = True
                due.append(name)
                heapq.heappush(self._events, (at_s + FORGOTTEN_AFTER_S, name))
            elif retry.handed_out and at_s == retry.due_s + FORGOTTEN_AFTER_S:
                del self._retries[name]
        return due

    def next_s(self) -> float:
        """Return when to call `take_due` again at the latest; infinity if nothing failed."""
        return self._events[0][0] if self._events else float("inf")

    def clear(self) -> None:
        """Forget everything."""
        self._retries.clear()
        self._events.clear()
