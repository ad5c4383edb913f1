"""Mutation check of the pure core: after each small change of the code some test must fail.

    python tests/mutation.py [MODULE ...]      e.g. rankers/score.py; no module: all

mutmut wants the package as folders under `src/`, so the code is copied below `.mutation/` and
changed there.  Exits with 1 when fewer than `LEAST_KILLED` of the mutants fail a test.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".mutation"
LEAST_KILLED = 0.9
# Each module, and the tests that are to notice when it is wrong.
MODULES = {
    "tables/id_table.py": ["tests/tables/test_id_table.py", "tests/tables/test_id_table_sweep.py"],
    "rankers/combiner/view.py": [
        "tests/rankers/combiner/test_view.py",
        "tests/rankers/combiner/test_view_batches.py",
        "tests/rankers/combiner/test_view_early_signals.py",
    ],
    "rankers/combiner/gate_decisions.py": ["tests/rankers/combiner/test_gate_decisions.py"],
    "rankers/score.py": ["tests/rankers/test_score.py"],
    "features/counters.py": ["tests/features/test_counters.py"],
    "events/settings.py": [
        "tests/events/test_settings.py",
        "tests/events/test_experiment.py",
        "tests/events/test_settings_refusals.py::test_settings_are_refused_whole_with_their_reasons",
    ],
}
PACKAGES = ("tables", "events", "features", "models", "filters", "rankers")
_CONFIG = """
[tool.pytest.ini_options]
addopts = "--import-mode=importlib -p no:cacheprovider --strict-markers"
pythonpath = ["tests"]
markers = ["stack: never runs here"]

[tool.mutmut]
source_paths = ["src"]
only_mutate = {modules}
pytest_add_cli_args_test_selection = {tests}
also_copy = ["tests"]
"""

# mutmut 3.7 reads an attribute of tests that pytest 9.2 has under another name.
_CONFTEST = """
pytest_plugins = ["builders.golden"]


def pytest_itemcollected(item):
    item._nodeid = item.nodeid
"""


def main(modules: Sequence[str]) -> int:
    _lay_out(modules or list(MODULES))
    # One child, at low priority; `CI` has hypothesis draw the same examples each time.
    environment = {**os.environ, "CI": "1"}
    command = ["nice", sys.executable, "-m", "mutmut", "run", "--max-children", "1"]
    with (WORK / "run.log").open("w") as log:
        subprocess.run(command, cwd=WORK, env=environment, stdout=log, stderr=log, check=True)
    return _report(_results())


def _lay_out(modules: Sequence[str]) -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__", "artifacts")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, WORK / "src/feedmill" / package, ignore=ignore)
    ignore = shutil.ignore_patterns("__pycache__", "conftest.py")  # it starts Kafka and Redis
    shutil.copytree(ROOT / "tests", WORK / "tests", ignore=ignore)
    (WORK / "tests/conftest.py").write_text(_CONFTEST)
    sources = [f"src/feedmill/{module}" for module in modules]
    tests = [test for module in modules for test in MODULES[module]]
    (WORK / "pyproject.toml").write_text(_CONFIG.format(modules=sources, tests=tests))


def _results() -> dict[str, str]:
    """By mutant whether it was killed or survived."""
    command = [sys.executable, "-m", "mutmut", "results", "--all", "true"]
    lines = subprocess.run(command, cwd=WORK, capture_output=True, text=True, check=True).stdout
    pairs = (line.strip().rpartition(": ") for line in lines.splitlines() if ": " in line)
    return {name: status for name, _, status in pairs}


def _report(results: dict[str, str]) -> int:
    # A mutant that makes the tests run for ever was noticed too.
    survivors = [name for name, status in results.items() if status not in ("killed", "timeout")]
    for name in survivors:
        command = [sys.executable, "-m", "mutmut", "show", name]
        subprocess.run(command, cwd=WORK, check=True)
    killed = 1 - len(survivors) / max(len(results), 1)
    print(f"{len(results)} mutants, {killed:.1%} killed; at least {LEAST_KILLED:.0%} must be")
    return 0 if results and killed >= LEAST_KILLED else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
