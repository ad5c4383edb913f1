"""Cause faults in a running engine, and print what came of them: `make chaos`.

Scenarios run one after another; the exit code is 1 if a bar fails.  That of the time to recover
counts in the long form alone: a busy machine takes longer, and is no failure.  In the short form a
scenario that ends with an error, such as a wait that is over, runs once more on servers of its own,
as a test does: `RERUN`.
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
from pathlib import Path

import chaos.scenarios
from builders.scratch import scratch_folder
from chaos.results import HEADER, line_of
from chaos.scenario import Chaos, Row, SharedStack

FOLDER = Path(".feedmill/chaos").absolute()
# This scenario measures what a worker takes: in CI before the tests load the machine.
FIRST = ("overload",)
# They take minutes: in the long form, or by name.
BY_NAME = ("rolling", "rotated_secrets")

# OpenMP threads wait by spinning: beside other processes they take the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    """Run the scenarios; what failed is said again at the end."""
    names = sorted(module.name for module in pkgutil.iter_modules(chaos.scenarios.__path__))
    parser = argparse.ArgumentParser(prog="chaos")
    parser.add_argument("--long", action="store_true", help="many rounds")
    parser.add_argument("--only", action="append", choices=names, help="run this scenario")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="draw the same again")
    given = parser.parse_args()
    print(f"seed {given.seed}, {'long' if given.long else 'short'} form\n\n{HEADER}", flush=True)
    folder = _folder_of(given.seed, is_long=given.long)
    chosen = given.only or [name for name in names if given.long or name not in BY_NAME]
    with contextlib.closing(SharedStack(folder)) as stack:

        def failed_rows(name: str) -> list[str]:
            rows, is_cut = _rows_of(Chaos(name, given.seed, is_long=given.long, stack=stack))
            if is_cut and not given.long:
                print(f"RERUN {name}", flush=True)
                with contextlib.closing(SharedStack(folder / f"again-{name}")) as own:
                    rows, _ = _rows_of(Chaos(name, given.seed, is_long=False, stack=own))
            return [
                "\n    ".join([f"{name}: {row.fault}", *row.problems[:10]])
                for row in rows
                if row.problems or (given.long and row.is_slow)
            ]

        ordered = sorted(chosen, key=lambda name: name not in FIRST)
        failed = [line for name in ordered for line in failed_rows(name)]
    if failed:
        print("\n".join(["", *failed, f"a bar failed; the logs are in {folder}"]))
        sys.exit(1)
    shutil.rmtree(folder)


def _folder_of(seed: int, *, is_long: bool) -> Path:
    """Make a folder for data and logs: on the disk for the long form, which measures."""
    if not is_long:
        return scratch_folder(f"feedmill-chaos-{seed}-")
    FOLDER.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{seed}-", dir=FOLDER))


def _rows_of(surroundings: Chaos) -> tuple[list[Row], bool]:
    """Run a scenario and print its rows; whether an error alone, and no wrong row, cut it short."""
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
            is_cut = not any(row.problems for row in rows)
            rows.append(Row.failed(surroundings.name, f"{type(error).__name__}: {error}"))
            print("\n".join([line_of(rows[-1]), *surroundings.ends_of_logs()]), flush=True)
            return rows, is_cut
    return rows, False


if __name__ == "__main__":
    main()
