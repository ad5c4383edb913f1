"""The architecture, read from the imports of every module: nothing imports what stands above it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each folder may import of the others; `filters` and `rankers` never each other.
_MODELS = {"events", "features", "models"}
_SERVING = _MODELS | {"tables", "filters", "rankers"}
_APPLICATIONS = {
    *("training", "experiments", "streams", "operations", "simulation", "readers", "deploy"),
    "console",
}
MAY_IMPORT = {
    "tables": set(),
    "events": set(),
    "features": {"events"},
    "models": {"events", "features"},
    "filters": _MODELS,
    "rankers": _MODELS | {"tables"},
    "training": _SERVING,
    "experiments": {"events"},
    "streams": _SERVING,
    "operations": _SERVING | {"experiments", "streams"},
    "simulation": {"events", "experiments", "streams"},
    "readers": {"tables", "events", "rankers", "experiments", "streams"},
    "deploy": _SERVING | {"streams", "simulation"},
    "console": _SERVING | {"experiments", "streams", "operations"},
    "cli": _SERVING | _APPLICATIONS,
    # What users write: against the contract alone, or with the helper for their own signals.
    "examples": {"events", "streams"},
    "benchmarks": _SERVING | _APPLICATIONS,
}
OUTSIDE = (
    *("streams/", "operations/", "console/", "simulation/", "readers/", "deploy/", "cli/"),
    *("examples/", "benchmarks/"),
)
# Time and the environment come in through `streams` and `deploy`; below them they are arguments.
OF_THE_OUTSIDE = {
    *(f"time.{name}{ns}" for name in ("time", "monotonic", "perf_counter") for ns in ("", "_ns")),
    *(f"time.{name}" for name in ("localtime", "gmtime", "process_time", "sleep")),
    *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    "datetime.date.today",
    *(f"os.{name}" for name in ("environ", "environb", "getenv", "putenv")),
}
# Artifacts and messages are data, never code.
NEVER = {
    *("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"),
    *("eval", "exec", "builtins.eval", "builtins.exec"),
}


def modules() -> list[Path]:
    return sorted(path for folder in MAY_IMPORT for path in (ROOT / folder).rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each import by its line, `from a import b` as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def dotted_name(node: ast.expr) -> str:
    """`a.b.c`; "" where it does not begin with a name."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def used(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each name that is imported or read by its line, through what the module calls it."""
    called: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                called[name] = alias.name if alias.asname else name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                called[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    yield from imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            first, dot, rest = dotted_name(node).partition(".")
            yield node.lineno, called.get(first, first) + dot + rest


def upward(folder: str, source: str) -> list[str]:
    """Imports of a module in this folder that it may not have."""
    wrong = []
    for line, name in imported(ast.parse(source)):
        package, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if package == "feedmill" and target not in MAY_IMPORT[folder] | {folder}:
            wrong.append(f"line {line}: {folder} imports {name}")
        if not package:
            wrong.append(f"line {line}: {name}: imports are written in full")
    return wrong


def forbidden(names: set[str], source: str) -> list[str]:
    """Uses of these names, or of anything in the modules among them."""
    return sorted(
        {
            f"line {line}: {name}"
            for line, name in used(ast.parse(source))
            if name in names or any(name.startswith(f"{one}.") for one in names)
        }
    )


def test_every_folder_with_code_has_a_rule() -> None:
    with_code = {path.parent.name for path in ROOT.glob("*/*.py")}
    assert with_code - {"tests"} == set(MAY_IMPORT)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_nothing_is_imported_from_above(folder: str) -> None:
    found = {
        str(path.relative_to(ROOT)): wrong
        for path in modules()
        if path.is_relative_to(ROOT / folder) and (wrong := upward(folder, path.read_text("utf-8")))
    }
    assert found == {}


def test_only_the_outside_reads_clock_and_environment() -> None:
    found = {}
    for path in modules():
        name = path.relative_to(ROOT).as_posix()
        wrong = forbidden(OF_THE_OUTSIDE, path.read_text("utf-8"))
        if wrong and not name.startswith(OUTSIDE):
            found[name] = wrong
    assert found == {}


def test_nothing_is_pickled_or_evaluated() -> None:
    found = {
        str(path.relative_to(ROOT)): wrong
        for path in modules()
        if (wrong := forbidden(NEVER, path.read_text("utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("events", "from feedmill.features.text.ngrams import score"),
        ("filters", "import feedmill.rankers.score"),
        ("rankers", "def late():\n    from feedmill.streams.settings.clock import now_ms"),
        ("streams", "from feedmill.cli import run"),
        ("examples", "import feedmill.rankers.score"),
        ("events", "from . import post"),
    ],
)
def test_an_upward_import_is_found(folder: str, source: str) -> None:
    assert upward(folder, source)


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "from time import time_ns",
        "import time as clock\nclock.perf_counter()",
        "from datetime import datetime\ndatetime.now()",
        "import datetime as dt\ndt.datetime.utcnow()",
        "import os\nos.environ['HOME']",
        "from os import getenv",
    ],
)
def test_a_look_outside_is_found(source: str) -> None:
    assert forbidden(OF_THE_OUTSIDE, source)


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from joblib import load", "eval('1')", "import builtins as b\nb.exec('')"],
)
def test_code_from_data_is_found(source: str) -> None:
    assert forbidden(NEVER, source)


def test_no_files_import_each_other_in_a_circle() -> None:
    """Imports for types alone count, too: who reads one file needs the other."""
    paths = {
        ".".join(("feedmill", *p.relative_to(ROOT).with_suffix("").parts)): p for p in modules()
    }
    needs = {}
    for name, path in paths.items():
        found = {dotted for _, dotted in imported(ast.parse(path.read_text("utf-8")))}
        needs[name] = paths.keys() & (found | {dotted.rpartition(".")[0] for dotted in found})
    # What is left when files are taken away again and again that need nothing more.
    while free := {name for name, needed in needs.items() if not needed & needs.keys()}:
        for name in free:
            del needs[name]
    # And that nothing left needs: these only lead to a circle.
    while ends := needs.keys() - set().union(*needs.values()):
        for name in ends:
            del needs[name]
    assert not needs
