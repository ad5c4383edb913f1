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
from pathlib import Path

import chaos.scenarios
from chaos.results_page import write_rows
from chaos.scenario import Chaos, Row, SharedStack
from chaos.table import HEADER, line_of

FOLDER = Path(".feedmill/chaos").absolute()

# OpenMP threads wait by spinning: beside other processes they take the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    """Run the scenarios one after another."""
    names = sorted(module.name for module in pkgutil.iter_modules(chaos.scenarios.__path__))
    parser = argparse.ArgumentParser(prog="chaos")
    parser.add_argument("--long", action="store_true", help="many rounds, written to docs/chaos.md")
    parser.add_argument("--only", action="append", choices=names, help="run this scenario")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="draw the same again")
    given = parser.parse_args()
    print(f"seed {given.seed}, {'long' if given.long else 'short'} form\n\n{HEADER}", flush=True)
    failed = False
    FOLDER.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{given.seed}-", dir=FOLDER))
    with contextlib.closing(SharedStack(folder)) as stack:
        for name in given.only or names:
            rows = []
            with Chaos(name, given.seed, is_long=given.long, stack=stack) as surroundings:
                for row in _rows(surroundings):
                    rows.append(row)
                    _print(row)
            failed = failed or any(row.problems or (given.long and row.is_slow) for row in rows)
            if given.long:
                write_rows(name, rows, given.seed)
    if failed:
        print(f"a bar failed; the logs are in {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


def _rows(surroundings: Chaos) -> Iterator[Row]:
    """The rows of a scenario; one that says why, where it ends with an error."""
    module = importlib.import_module(f"chaos.scenarios.{surroundings.name}")
    try:
        yield from module.run(surroundings)
    except Exception as error:  # noqa: BLE001 - a scenario may fail in any way; the others go on
        traceback.print_exc()
        yield Row.failed(surroundings.name, f"{type(error).__name__}: {error}")


def _print(row: Row) -> None:
    print(line_of(row), flush=True)
    for problem in row.problems[:10]:
        print(f"    {problem}", flush=True)


if __name__ == "__main__":
    main()
