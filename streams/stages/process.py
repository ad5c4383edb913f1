"""One stage as this process: `python -m feedmill.streams.stages.process spam`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import uvloop

from feedmill.events.errors import FeedmillError
from feedmill.streams.settings.environment import Environment, read_environment
from feedmill.streams.stages.flow import STAGES

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Faust and its friends tell of every step of every rebalance.
_QUIET = ("faust", "mode", "aiokafka", "feedmill.streams.kafka.transport", "kafka")


def run_stage(stage: str, environment: Environment) -> int:
    """Run a stage until it is told to stop; the exit code: 0 stopped, 1 failed."""
    logging.basicConfig(
        level=os.environ.get("FEEDMILL_LOG_LEVEL", "INFO").upper(), format=_FORMAT, force=True
    )
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    log = logging.getLogger(f"feedmill.{stage}")
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        asyncio.run(_run(stage, environment))
    except FeedmillError as error:
        log.error("%s", error)
        return 1
    except Exception:
        log.exception("stage %s failed", stage)
        return 1
    return 0


async def _run(stage: str, environment: Environment) -> None:
    # Clients bind to the running loop when they are made.
    await STAGES[stage](environment).run()


def main() -> None:
    """Run the stage named on the command line."""
    try:
        environment = read_environment()
    except FeedmillError as error:
        print(f"feedmill: {error}", file=sys.stderr)
        sys.exit(1)
    code = run_stage(sys.argv[1], environment)
    logging.shutdown()
    # Faust's threads must not keep a stopped process alive.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
