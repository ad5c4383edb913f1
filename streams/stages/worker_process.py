"""A worker as this process: `python -m feedmill.streams.stages.worker_process quality`."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from feedmill.events.errors import FeedmillError, UsageError
from feedmill.filters.registry import FILTERS
from feedmill.filters.spec import FilterSpec
from feedmill.rankers.registry import ENGAGEMENT_RANKER, TEXT_RANKERS
from feedmill.streams.settings.environment import Environment, read_environment
from feedmill.streams.stages.engagement import EngagementStep
from feedmill.streams.stages.filters import FilterStep
from feedmill.streams.stages.ranking import RankingStep
from feedmill.streams.stages.step import Step
from feedmill.streams.stages.text_models import TextModelStep
from feedmill.streams.stages.worker import Worker

COMBINER = "combiner"
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def steps_of(names: Sequence[str], environment: Environment) -> list[Step]:
    """Return the steps of some stages, in the order in which a worker runs them.

    The models come first, then engagement, and the combiner last: it ranks what they wrote.

    Raises
    ------
    UsageError
        There is no stage by one of the names.
    """
    makers = step_makers(environment)
    unknown = [name for name in names if name not in makers]
    if unknown:
        raise UsageError(f"no stage `{unknown[0]}`; there are: {', '.join(makers)}")
    steps = [make() for name, make in makers.items() if name in names and name != COMBINER]
    if COMBINER in names:
        made_here = [name for name in names if name != COMBINER]
        steps.append(RankingStep(environment, made_here))
    return steps


def step_makers(environment: Environment) -> dict[str, Callable[[], Step]]:
    """Return how to make the step of each stage that this installation declares."""
    store, declared = environment.models, environment.signals.all
    makers: dict[str, Callable[[], Step]] = {}
    for spec in FILTERS.values():
        makers[spec.name] = partial(_filter_step, spec, store)
    for ranker in TEXT_RANKERS.values():
        makers[ranker.name] = partial(TextModelStep, ranker.name, partial(ranker.load, store))
    makers[ENGAGEMENT_RANKER.name] = partial(EngagementStep, partial(ENGAGEMENT_RANKER.load, store))
    makers = {name: make for name, make in makers.items() if name in declared}
    return {**makers, COMBINER: partial(RankingStep, environment)}


def group_of(names: Sequence[str], environment: Environment) -> str:
    """Return the consumer group of a worker: `worker` for one that runs every stage."""
    stages = list(step_makers(environment))
    if set(names) == set(stages):
        return "worker"
    return "-".join(["worker", *(name for name in stages if name in names)])


def _filter_step(spec: FilterSpec, store: Path | None) -> Step:
    return FilterStep(spec.name, partial(spec.load, store), remembers=spec.reads_near_copies)


def run_worker(names: Sequence[str], environment: Environment) -> int:
    """Run a worker until a signal stops it; the exit code: 0 stopped, 1 failed."""
    logging.basicConfig(
        level=os.environ.get("FEEDMILL_LOG_LEVEL", "INFO").upper(), format=_FORMAT, force=True
    )
    # `kill -USR1` has every thread say where it is.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    log = logging.getLogger("feedmill.worker")
    try:
        Worker(environment, steps_of(names, environment), group=group_of(names, environment)).run()
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
