"""A worker as this process: `python -m feedmill.streams.worker_process quality`."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Sequence

# `np.unique` imports it when it is first called: 17 ms of a cycle.
import numpy.ma  # noqa: F401 - see above

from feedmill.events.errors import BadArtifact, FeedmillError
from feedmill.streams.environment import Environment, read_environment
from feedmill.streams.flow import COMBINER, ENGAGEMENT, chosen_stages, group_of, steps_of
from feedmill.streams.observe.status import Status, status_pipe, write_status
from feedmill.streams.worker.heap import keep_heap_small
from feedmill.streams.worker.worker import Worker

# What a supervisor restarts, and what it does not: the next start would end alike.
# Not that of the watchdog, after which a supervisor starts the worker again.
FAILED, CANNOT_START = 1, os.EX_CONFIG

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run_worker(stages: Sequence[str], environment: Environment) -> int:
    """Run a worker until a signal stops it; the exit code: 0 stopped, or as `_failed`."""
    logging.basicConfig(
        level=os.environ.get("FEEDMILL_LOG_LEVEL", "INFO").upper(), format=_FORMAT, force=True
    )
    keep_heap_small()
    # `kill -USR1` has every thread say where it is.
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

    A model that does not fit stays as it is until somebody puts it right.  What a service refuses,
    or has not got yet, may be there at the next start.
    """
    text = str(error) if isinstance(error, FeedmillError) else f"{type(error).__name__}: {error}"
    pipe = status_pipe(os.environ)
    if pipe is not None:
        write_status(pipe, Status(text, "", error=text))
    return CANNOT_START if isinstance(error, BadArtifact) else FAILED


def new_worker(stages: Sequence[str], environment: Environment) -> Worker:
    """Make the worker of some stages, all if none is named.

    The combiner alone ranks and gets no posts, any other stage judges.  One group reads
    `engagements`, and writes the dead letters of `posts` and `engagements`: that with the stage
    `engagement`.

    Raises
    ------
    UsageError
        A stage is unknown or has no declared signal.
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
    # Threads that wait for an absent broker must not keep a stopped process alive.
    os._exit(code)


if __name__ == "__main__":
    main()
