import re
from pathlib import Path

import pytest

from feedmill.events.limits import ID_PATTERN, NAME_PATTERN
from feedmill.events.schema import schema_text, schemas, write_schemas

DOCS = Path(__file__).parents[2] / "docs" / "events"


@pytest.mark.parametrize("name", schemas())
def test_the_schemas_in_docs_are_current(name: str) -> None:
    written = (DOCS / f"{name}.schema.json").read_text(encoding="utf-8")
    assert written == schema_text(schemas()[name]), (
        "run: python -m feedmill.events.schema docs/events"
    )


def test_docs_hold_no_schema_of_an_event_that_is_gone_and_describe_each() -> None:
    files = {path.name for path in DOCS.glob("*.schema.json")}
    assert files == {f"{name}.schema.json" for name in schemas()}
    described = (DOCS / "README.md").read_text(encoding="utf-8")
    assert files == set(re.findall(r"\(([a-z]+\.schema\.json)\)", described))


def test_writing_them_twice_changes_nothing(tmp_path: Path) -> None:
    write_schemas(tmp_path / "new")
    first = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    write_schemas(tmp_path / "new")
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    assert len(first) == len(schemas())


@pytest.mark.parametrize("pattern", [ID_PATTERN, NAME_PATTERN])
def test_patterns_mean_the_same_to_python_and_to_json_schema(pattern: str) -> None:
    # ECMA's `$` ends a text, Python's lets a line break through: neither is used.
    assert pattern.startswith("^")
    assert "$" not in pattern
    assert re.search(pattern, "a")
    assert not re.search(pattern, "a\n")
