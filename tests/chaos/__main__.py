"""Cause faults in a running engine, and print what came of them: `make chaos`.

The exit code is 1 if a bar fails.  That of the time to recover counts in the long form alone: a
busy machine takes longer, and is no failure.
"""

import argparse
import contextlib
import importlib
import os
import pkgutil
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import chaos.scenarios
from chaos.results import HEADER, line_of
from chaos.scenario import Chaos, Row, SharedStack

FOLDER = Path(".feedmill/chaos").absolute()
# The short form runs so many scenarios side by side: most of the time they wait.
SIDE_BY_SIDE = 2
# It measures what a worker takes, and sends twice that.
ALONE = ("overload",)

# OpenMP threads wait by spinning: beside other processes they take the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    """Run the scenarios: one after another in the long form, which measures times."""
    names = sorted(module.name for module in pkgutil.iter_modules(chaos.scenarios.__path__))
    parser = argparse.ArgumentParser(prog="chaos")
    parser.add_argument("--long", action="store_true", help="many rounds")
    parser.add_argument("--only", action="append", choices=names, help="run this scenario")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="draw the same again")
    given = parser.parse_args()
    print(f"seed {given.seed}, {'long' if given.long else 'short'} form\n\n{HEADER}", flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{given.seed}-", dir=FOLDER))
    chosen = given.only or names
    alone = chosen if given.long else [name for name in chosen if name in ALONE]
    with contextlib.closing(SharedStack(folder)) as stack:

        def run(name: str) -> bool:
            return _passes(Chaos(name, given.seed, is_long=given.long, stack=stack))

        passed = list(map(run, alone))
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            passed += pool.map(run, [name for name in chosen if name not in alone])
    if not all(passed):
        print(f"a bar failed; the logs are in {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


def _passes(surroundings: Chaos) -> bool:
    """Run a scenario and print its rows; whether all bars that count hold."""
    rows = []
    with surroundings:
        for row in _rows(surroundings):
            rows.append(row)
            notes = [*row.notes, *row.problems[:10]]
            print("\n    ".join([line_of(row), *notes]), flush=True)
    return not any(row.problems or (surroundings.is_long and row.is_slow) for row in rows)


def _rows(surroundings: Chaos) -> Iterator[Row]:
    """The rows of a scenario; one that says why, where it ends with an error."""
    module = importlib.import_module(f"chaos.scenarios.{surroundings.name}")
    try:
        yield from module.run(surroundings)
    except Exception as error:  # noqa: BLE001 - a scenario may fail in any way; the others go on
        traceback.print_exc()
        yield Row.failed(surroundings.name, f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
