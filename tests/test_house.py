"""The house's own rules: where tests stand, how long code gets, what is documented."""

import ast
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

from builders.sizes import ceilings, lines_by_folder, too_long

ROOT = Path(__file__).parents[1]
MAX_MODEL_BENCHMARK_LINES = 700
MAX_FUNCTION_LINES = 60

# Tests of no single module, each with what it is about instead.
OF_NO_MODULE = {
    "tests/chaos/": "the suite of faults, `make chaos`",
    "tests/deploy/test_chart.py": "the chart of deploy/chart",
    "tests/deploy/test_compose.py": "deploy/compose",
    "tests/deploy/test_dashboards.py": "deploy/grafana",
    "tests/deploy/test_image.py": "the lock of deploy/image",
    "tests/deploy/test_systemd.py": "deploy/systemd",
    "tests/e2e/": "a whole engine on real Kafka and Redis",
    "tests/fuzz/": "the readers of events, settings, files and artifacts",
    "tests/golden/": "the flow without Kafka and Redis, compared to the bit",
    "tests/streams/engagement/test_complaints.py": "attacks by hides and reports",
    "tests/test_benchmarks.py": "the scripts of benchmarks/",
    "tests/test_docs.py": "docs/ and README against the code",
    "tests/test_house.py": "the repository",
    "tests/test_imports.py": "the imports of every module",
    "tests/test_status.py": "the README's status against the code",
    "tests/test_wheel.py": "the wheel against the tree",
    "tests/cli/test_mistakes.py": "what users do wrong with all commands",
    "tests/filters/test_shipped.py": "the shipped artifacts of all filters",
    "tests/filters/test_disguised.py": "the shipped spam filter on texts in disguise",
    "tests/filters/test_hostile_texts.py": "spam, rules and lists behind long texts",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tracked(pattern: str = "*.py") -> list[PurePosixPath]:
    listed = subprocess.run(
        ["git", "ls-files", "--", pattern],  # noqa: S607 - the git on the path
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    # A file that is deleted and not yet committed is still listed.
    names = [PurePosixPath(name) for name in listed.stdout.splitlines()]
    return [name for name in names if (ROOT / name).exists()]


@cache
def source(name: PurePosixPath) -> str:
    return (ROOT / name).read_text("utf-8")


def test_what_users_leave_behind_is_ignored_and_what_the_project_keeps_is_not() -> None:
    left = ("looks.jsonl", "run.log", "models/spam.json", "models/spam@0123456789ab.json")
    kept = ("docs/looks.jsonl", "filters/artifacts/spam.json", "models/artifact.py")
    found = subprocess.run(
        ["git", "check-ignore", "--no-index", "--", *left, *kept],  # noqa: S607 - as above
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == list(left)


# --- tests mirror the tree ------------------------------------------------------------------


def subject_of(test: PurePosixPath) -> str | None:
    """The module or package that a test is about by its path, None where there is none.

    `test_x.py` is about `x.py` or `x/`; so is `test_x_more.py`, if nothing is called `x_more`.
    """
    folder = PurePosixPath(*test.parts[1:-1])
    words = test.stem.removeprefix("test_").split("_")
    for end in range(len(words), 0, -1):
        name = folder / "_".join(words[:end])
        if (ROOT / f"{name}.py").exists() or (ROOT / name / "__init__.py").exists():
            return str(name)
    return None


def test_tests_mirror_the_tree() -> None:
    astray = [
        str(test)
        for test in tracked("tests/**/test_*.py")
        if subject_of(test) is None and not str(test).startswith(tuple(OF_NO_MODULE))
    ]
    assert astray == [], "no module of this name; move the test, or add it to OF_NO_MODULE"


def test_no_exception_from_the_mirror_is_left_over() -> None:
    tests = [str(test) for test in tracked("tests/**")]
    assert [name for name in OF_NO_MODULE if not any(t.startswith(name) for t in tests)] == []


def test_a_test_astray_is_found() -> None:
    assert subject_of(PurePosixPath("tests/events/test_post.py")) == "events/post"
    assert subject_of(PurePosixPath("tests/rankers/combiner/test_combiner_memory.py"))
    assert subject_of(PurePosixPath("tests/rankers/test_post.py")) is None


# --- sizes ----------------------------------------------------------------------------------


def functions(tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node


def long_functions(text: str) -> list[str]:
    """Functions of more lines than any should have, with their length."""
    lengths = {
        f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions(ast.parse(text))
    }
    return [f"{name}: {n} lines" for name, n in lengths.items() if n > MAX_FUNCTION_LINES]


def test_no_folder_is_above_its_ceiling() -> None:
    assert too_long(lines_by_folder(), ceilings()) == []


def test_a_folder_above_its_ceiling_is_found_and_one_without() -> None:
    lines = Counter({"streams": 11, "rankers": 10, "console": 1})
    assert too_long(lines, {"streams": 10, "rankers": 10, "research": 5}) == [
        "console: no ceiling in tests/ceilings.toml",
        "research: a ceiling, and no code",
        "streams: 11 lines, at most 10",
    ]


def test_what_measures_the_shipped_models_stays_small() -> None:
    files = tracked("benchmarks/models/*.py")
    assert files
    assert sum(source(name).count("\n") for name in files) <= MAX_MODEL_BENCHMARK_LINES


def test_no_function_is_too_long() -> None:
    found = {str(name): long_functions(source(name)) for name in tracked()}
    assert {name: long for name, long in found.items() if long} == {}


def test_a_long_function_is_found() -> None:
    body = "    pass\n"
    assert long_functions(f"async def f():\n{body * 59}") == []
    assert long_functions(f"class C:\n  def f(self):\n{body * 60}") == ["f: 61 lines"]


# --- docstrings at the seams ----------------------------------------------------------------


def modules() -> list[PurePosixPath]:
    """Every module of the package."""
    return [name for name in tracked() if name.parts[0] in packaged_folders()]


def imported_modules(text: str) -> set[str]:
    """Dotted names that a module imports from feedmill, without the `feedmill.`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("feedmill.") for name in found if name.startswith("feedmill.")}


@cache
def seams() -> set[PurePosixPath]:
    """Modules that a module of another folder imports, directly or through their package."""
    by_dotted = {".".join(name.with_suffix("").parts): name for name in modules()}
    found = set()
    for name in modules():
        for dotted in imported_modules(source(name)):
            target = by_dotted.get(dotted)
            handed_on = name.name == "__init__.py"
            if target is not None and (target.parent != name.parent or handed_on):
                found.add(target)
    return found


def undocumented(text: str) -> list[str]:
    """Public classes, and public functions of the module, that have no docstring."""
    return [
        f"line {node.lineno}: {node.name}"
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef | Function)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]


def test_seams_are_documented() -> None:
    assert len(seams()) > 50
    found = {str(name): undocumented(source(name)) for name in sorted(seams())}
    assert {name: missing for name, missing in found.items() if missing} == {}


def test_what_is_undocumented_is_found() -> None:
    text = 'def f(): ...\nclass C:\n  def m(self): ...\nclass D:\n  """Doc."""\ndef _g(): ...\n'
    assert undocumented(text) == ["line 1: f", "line 2: C"]


# --- what is packaged and tracked -----------------------------------------------------------


def pyproject() -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def packaged_folders() -> set[str]:
    return set(pyproject()["tool"]["setuptools"]["package-dir"].values())


def test_every_package_is_installed() -> None:
    folders = packaged_folders()
    packages = {
        "feedmill." + ".".join(name.parent.parts)
        for name in tracked("*__init__.py")
        if name.parts[0] in folders
    }
    assert set(pyproject()["tool"]["setuptools"]["packages"]) == packages


def test_every_module_stands_in_a_package() -> None:
    without = [str(n) for n in modules() if not (ROOT / n.parent / "__init__.py").exists()]
    assert without == []


def test_the_types_of_every_folder_are_checked() -> None:
    listed = re.search(r"^PACKAGES := (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert listed is not None
    assert set(listed[1].split()) == packaged_folders()
    with_code = {name.parts[0] for name in tracked() if len(name.parts) > 1}
    assert with_code - packaged_folders() <= set(pyproject()["tool"]["mypy"]["files"])


def test_no_symbolic_link_is_tracked() -> None:
    assert [str(name) for name in tracked("*") if (ROOT / name).is_symlink()] == []


# What follows the codes is the reason.
UNREASONED = re.compile(r"# (type: ignore(\[[\w, -]+\])?|noqa(: [A-Z0-9, ]+)?)\s*$")


def test_every_exception_from_a_check_has_its_reason() -> None:
    without = [
        f"{name}:{number}"
        for name in tracked()
        for number, line in enumerate(source(name).splitlines(), 1)
        if UNREASONED.search(line)
    ]
    assert without == []


PLACEHOLDER = re.compile(r"\b(?:[T]ODO|[F]IXME)\b")


def test_nothing_is_left_to_be_written_later() -> None:
    assert PLACEHOLDER.search('"""T' + 'ODO."""')
    assert [str(name) for name in tracked() if PLACEHOLDER.search(source(name))] == []
