"""docs/map.md names functions that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEAST_ROWS = 40
ROW = re.compile(r"^\| (?P<behaviour>[^|]+) \| `(?P<file>[^`|]+)` \| `(?P<function>[^`|]+)` \|$")


def map_lines() -> list[str]:
    """The lines of the page's tables without their heads."""
    lines = (ROOT / "docs" / "map.md").read_text("utf-8").splitlines()
    return [line for line in lines if line.startswith("|") and not re.match(r"\| ?(Beh|-)", line)]


@cache
def functions_of(file: str) -> frozenset[str]:
    """Every function of a module, and every `Class.method`; none of a file that is not there."""
    path = ROOT / file
    if path.suffix != ".py" or not path.is_file():
        return frozenset()
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = (ast.FunctionDef, ast.AsyncFunctionDef)
            found |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, methods)}
    return frozenset(found)


@pytest.mark.parametrize("line", map_lines())
def test_a_row_of_the_map_names_a_function_that_exists(line: str) -> None:
    row = ROW.match(line)
    assert row is not None, "| behaviour | `file.py` | `function` or `Class.method` |"
    assert row["function"] in functions_of(row["file"])


def test_the_map_names_enough_behaviours_and_none_twice() -> None:
    behaviours = [line.split("|")[1].strip() for line in map_lines()]
    assert len(behaviours) >= LEAST_ROWS
    assert len(set(behaviours)) == len(behaviours)


def test_what_does_not_exist_is_found() -> None:
    assert "Settings.fold" in functions_of("events/settings.py")
    assert not {"fold", "Settings", "Settings.folded"} & functions_of("events/settings.py")
    assert functions_of("events/nowhere.py") == frozenset()
    assert functions_of("docs/map.md") == frozenset()
