"""Runs a reader as this process: `python -m feedmill.readers.reader_process 8090`."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys

from feedmill.events.errors import FeedmillError
from feedmill.readers.reader import Reader
from feedmill.streams.environment import Environment, read_environment
from feedmill.streams.observe.status import Status, status_pipe, write_status
from feedmill.streams.worker.heap import keep_heap_small
from feedmill.streams.worker_process import CANNOT_START, FAILED

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run_reader(environment: Environment, port: int) -> int:
    """Run a reader until a signal stops it; return the exit code."""
    level = os.environ.get("FEEDMILL_LOG_LEVEL", "INFO").upper()
    logging.basicConfig(level=level, format=_FORMAT, force=True)
    keep_heap_small()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    try:
        asyncio.run(_serve(environment, port))
    except FeedmillError as error:
        logging.getLogger("feedmill.reader").error("%s", error)
        _tell(str(error))
        return FAILED
    return 0


async def _serve(environment: Environment, port: int) -> None:
    reader = Reader(environment)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, reader.stopping.set)
    await reader.run(environment.host, port)


def _tell(error: str) -> None:
    """Tell the supervisor, if there is one, why this process ends."""
    pipe = status_pipe(os.environ)
    if pipe is not None:
        write_status(pipe, Status(error, "", error=error))


def main() -> None:
    """Run a reader on the port of the command line, else of the environment."""
    try:
        environment = read_environment()
    except FeedmillError as error:
        print(f"feedmill: {error}", file=sys.stderr)
        _tell(str(error))
        sys.exit(CANNOT_START)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else environment.reader_port
    code = run_reader(environment, port)
    logging.shutdown()
    sys.stderr.flush()
    # Threads that wait for an absent broker must not keep the stopped process alive.
    os._exit(code)


if __name__ == "__main__":
    main()
