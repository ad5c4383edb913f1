"""Cause faults in a running engine, and print what came of them: `make chaos`.

The exit code is 1 if a bar fails.  That of the time to recover counts in the long form alone: a
busy machine takes longer, and is no failure.  In the short form a scenario that ends with an error,
such as a wait that is over, runs once more on servers of its own, as a test does: `RERUN`.
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
# It takes minutes: in the long form, or by its name.
BY_NAME = ("rolling",)

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
    chosen = given.only or [name for name in names if given.long or name not in BY_NAME]
    alone = chosen if given.long else [name for name in chosen if name in ALONE]
    with contextlib.closing(SharedStack(folder)) as stack:

        def run(name: str) -> bool:
            passes = _passes(Chaos(name, given.seed, is_long=given.long, stack=stack))
            if passes is None and not given.long:
                print(f"RERUN {name}", flush=True)
                with contextlib.closing(SharedStack(folder / f"again-{name}")) as own:
                    passes = _passes(Chaos(name, given.seed, is_long=False, stack=own))
            return bool(passes)

        passed = list(map(run, alone))
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            passed += pool.map(run, [name for name in chosen if name not in alone])
    if not all(passed):
        print(f"a bar failed; the logs are in {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


def _passes(surroundings: Chaos) -> bool | None:
    """Run a scenario and print its rows; whether all bars that count hold, None after an error."""
    rows = []
    with surroundings:
        try:
            module = importlib.import_module(f"chaos.scenarios.{surroundings.name}")
            for row in module.run(surroundings):
                rows.append(row)
                notes = [*row.notes, *row.problems[:10]]
                print("\n    ".join([line_of(row), *notes]), flush=True)
        except Exception as error:  # noqa: BLE001 - it may fail in any way; the others go on
            traceback.print_exc()
            print(line_of(Row.failed(surroundings.name, f"{type(error).__name__}: {error}")))
            print("\n".join(surroundings.ends_of_logs()), flush=True)
            return False if any(row.problems for row in rows) else None
    return not any(row.problems or (surroundings.is_long and row.is_slow) for row in rows)


if __name__ == "__main__":
    main()
