"""Mutation check of what needs no server: after each small change of the code some test must fail.

    python tests/mutation.py [MODULE ...]      e.g. rankers/score.py; no module: all

mutmut wants the package as folders under `src/`, so the code is copied below `.mutation/` and
changed there.  Exits with 1 when fewer of the mutants fail a test than `LEAST_KILLED` or, in
`streams`, `LEAST_KILLED_IN_STREAMS` asks for.

The modules of `streams` run through the tests at their border: a step or a worker in memory, which
is given records and shows what it writes.  A test of a part may go if they kill what it killed.
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
# The logs in memory take any client's settings, and nothing reads what a part logs.
LEAST_KILLED_IN_STREAMS = 0.75
# The combiner, by what the contract says of drawn records.
_ORACLE = "tests/rankers/combiner/test_combiner_oracle.py"
_CANDIDATES = "tests/streams/releases/test_candidates.py"
_ENGAGEMENT = [
    "tests/streams/engagement/test_engagement.py",
    "tests/streams/engagement/test_engagement_releases.py",
]
# Each module, and the tests that are to notice when it is wrong.
MODULES = {
    "tables/id_table.py": ["tests/tables/test_id_table.py", "tests/tables/test_id_table_sweep.py"],
    "rankers/combiner/view.py": [_ORACLE, "tests/rankers/combiner/test_view.py"],
    "rankers/combiner/gate_decisions.py": [
        _ORACLE,
        "tests/rankers/combiner/test_gate_decisions.py",
    ],
    "rankers/score.py": [_ORACLE, "tests/rankers/test_score.py"],
    "features/counters.py": ["tests/features/test_counters.py"],
    "events/settings.py": [
        "tests/events/test_settings.py",
        "tests/events/test_experiment.py",
        "tests/events/test_settings_refusals.py::test_settings_are_refused_whole_with_their_reasons",
    ],
    "streams/engagement/engagement.py": _ENGAGEMENT,
    "streams/engagement/partition_state.py": _ENGAGEMENT,
    "streams/filters/filters.py": [
        "tests/streams/filters/test_filters.py",
        "tests/streams/filters/test_filters_rule_backfill.py",
    ],
    "streams/ranking/feed_freshness.py": ["tests/streams/ranking/test_feed_freshness.py"],
    "streams/ranking/shard_claims.py": ["tests/streams/ranking/test_shard_claims.py"],
    "streams/releases/candidates.py": [
        _CANDIDATES,
    ],
    "streams/releases/model_releases.py": [
        _CANDIDATES,
        "tests/streams/releases/test_model_releases.py",
    ],
    "streams/scoring/rescoring.py": ["tests/streams/scoring/test_rescoring.py"],
}
PACKAGES = (
    *("tables", "events", "features", "models", "filters", "rankers"),
    *("experiments", "streams", "deploy"),
)
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
    ignore = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, WORK / "src/feedmill" / package, ignore=ignore)
    shutil.copytree(ROOT / "tests", WORK / "tests", ignore=ignore)
    # In place of the one that starts Kafka and Redis.
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
    survivors = {name for name, status in results.items() if status not in ("killed", "timeout")}
    for name in sorted(survivors):
        command = [sys.executable, "-m", "mutmut", "show", name]
        subprocess.run(command, cwd=WORK, check=True)
    in_streams = {name for name in results if name.startswith("feedmill.streams.")}
    enough = bool(results)
    for names, least in (
        (set(results) - in_streams, LEAST_KILLED),
        (in_streams, LEAST_KILLED_IN_STREAMS),
    ):
        killed = 1 - len(names & survivors) / max(len(names), 1)
        print(f"{len(names)} mutants, {killed:.1%} killed; at least {least:.0%} must be")
        enough = enough and killed >= least
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
