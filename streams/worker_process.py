"""Runs a worker as this process: `python -m feedmill.streams.worker_process quality`."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Sequence

# `np.unique` imports this module in its first call, which would take 17 ms of a cycle.
import numpy.ma  # noqa: F401 - see above

from feedmill.events.errors import BadArtifact, FeedmillError
from feedmill.streams.environment import Environment, read_environment
from feedmill.streams.flow import COMBINER, ENGAGEMENT, chosen_stages, group_of, steps_of
from feedmill.streams.observe.status import Status, status_pipe, write_status
from feedmill.streams.worker.heap import keep_heap_small
from feedmill.streams.worker.worker import Worker

# A supervisor restarts a worker after `FAILED`, as after the watchdog's exit code; not after
# `CANNOT_START`, since the next start would fail in the same way.
FAILED, CANNOT_START = 1, os.EX_CONFIG

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run_worker(stages: Sequence[str], environment: Environment) -> int:
    """Run a worker until a signal stops it; return the exit code: 0, or that of `_failed`."""
    logging.basicConfig(
        level=os.environ.get("FEEDMILL_LOG_LEVEL", "INFO").upper(), format=_FORMAT, force=True
    )
    keep_heap_small()
    # `kill -USR1` prints where every thread is.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    log = logging.getLogger("feedmill.worker")
    try:
        new_worker(stages, environment).run()
    except FeedmillError as error:
        log.error("%s", error)
        return _failed(error)
    except Exception as error:
        log.exception("the worker failed")
        return _failed(error)
    return 0


def _failed(error: Exception) -> int:
    """Tell the supervisor, if there is one, why this process ends; return its exit code.

    A model that does not fit this build fails again at the next start; a service that refuses
    something, or lacks a topic, may have recovered by then.
    """
    text = str(error) if isinstance(error, FeedmillError) else f"{type(error).__name__}: {error}"
    pipe = status_pipe(os.environ)
    if pipe is not None:
        write_status(pipe, Status(text, "", error=text))
    return CANNOT_START if isinstance(error, BadArtifact) else FAILED


def new_worker(stages: Sequence[str], environment: Environment) -> Worker:
    """Make the worker of some stages, all if none is named.

    A worker of the combiner alone gets no posts.  The group with the stage `engagement` reads
    `engagements`, and writes the dead letters of `posts` and `engagements`.

    Raises `UsageError`: a stage is unknown or has no declared signal.
    """
    stages = chosen_stages(environment.signals, stages)
    counts = ENGAGEMENT in stages
    return Worker(
        environment,
        steps_of(stages, environment),
        group=group_of(stages, environment.signals),
        judges=stages != (COMBINER,),
        beside=("engagements",) if counts else (),
        dead_letters_of=ENGAGEMENT if counts else None,
    )


def main() -> None:
    """Run the stages named on the command line in one worker, all if none is named."""
    try:
        environment = read_environment()
    except FeedmillError as error:
        print(f"feedmill: {error}", file=sys.stderr)
        _failed(error)
        sys.exit(CANNOT_START)
    code = run_worker(sys.argv[1:], environment)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that wait for an absent broker must not keep the stopped process alive.
    os._exit(code)


if __name__ == "__main__":
    main()
