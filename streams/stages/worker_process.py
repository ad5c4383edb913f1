"""A worker as this process: `python -m feedmill.streams.stages.worker_process quality`."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

from feedmill.events.errors import FeedmillError, UsageError
from feedmill.filters.registry import FILTERS
from feedmill.rankers.registry import TEXT_RANKERS
from feedmill.streams.settings.environment import Environment, read_environment
from feedmill.streams.stages.filters import FilterStep
from feedmill.streams.stages.step import Step
from feedmill.streams.stages.text_models import TextModelStep
from feedmill.streams.stages.worker import Worker

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_FILTERS = ("spam", "nsfw", "misinformation")
# Those that look for copies among earlier posts.
_REMEMBERING = ("spam",)


def steps_of(names: Sequence[str], environment: Environment) -> list[Step]:
    """Return the steps of some stages, in the order in which a worker runs them.

    Raises
    ------
    UsageError
        There is no stage by one of the names.
    """
    steps: list[Step] = []
    for name in names:
        if name in _FILTERS:
            load = partial(filters.load, name, environment.models)
            steps.append(FilterStep(name, load, remembers=name in _REMEMBERING))
        elif name == "quality":
            steps.append(TextModelStep(name, partial(_load_ranker, name, environment)))
        else:
            known = ", ".join([*FILTERS, *TEXT_RANKERS])
            raise UsageError(f"no stage `{name}`; there are: {known}")
    return steps


def run_worker(names: Sequence[str], environment: Environment) -> int:
    """Run a worker until it is told to stop; the exit code: 0 stopped, 1 failed."""
    logging.basicConfig(
        level=os.environ.get("FEEDMILL_LOG_LEVEL", "INFO").upper(), format=_FORMAT, force=True
    )
    # `kill -USR1` has every thread say where it is.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    log = logging.getLogger("feedmill.worker")
    try:
        Worker(environment, steps_of(names, environment)).run()
    except FeedmillError as error:
        log.error("%s", error)
        return 1
    except Exception:
        log.exception("the worker failed")
        return 1
    return 0


def main() -> None:
    """Run the stages named on the command line in one worker."""
    try:
        environment = read_environment()
    except FeedmillError as error:
        print(f"feedmill: {error}", file=sys.stderr)
        sys.exit(1)
    code = run_worker(sys.argv[1:], environment)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that wait for an absent broker must not keep a stopped process alive.
    os._exit(code)


if __name__ == "__main__":
    main()
