"""Tables, JSON and times as commands print them."""

import json
import logging

import pytest

from feedmill.cli import output
from feedmill.cli.output import (
    plain_table,
    print_json,
    print_local_stack_log,
    print_table,
    rich_table,
    short_json,
    time_text,
)

COLUMNS = ("name", "count>")
ROWS = (("a", "1"), ("long name", "100"))


def test_columns_are_aligned_and_no_line_ends_in_blanks() -> None:
    assert plain_table(COLUMNS, ROWS) == "name       count\na              1\nlong name    100"
    assert plain_table(("a", "b"), [("x", "")]) == "a  b\nx"


def test_a_table_without_rows_is_its_heading() -> None:
    assert plain_table(COLUMNS, []) == "name  count"


def test_a_terminal_gets_the_same_table() -> None:
    table = rich_table(COLUMNS, ROWS)
    assert [(c.header, c.justify) for c in table.columns] == [("name", "left"), ("count", "right")]
    assert table.row_count == 2


@pytest.mark.parametrize("terminal", [False, True])
def test_json_is_one_line_unless_on_a_terminal(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "on_terminal", lambda: terminal)
    print_json({"a": ["é"]})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"a": ["é"]}
    assert (printed.count("\n") > 1) is terminal
    assert "é" in printed


def test_a_pipe_gets_the_plain_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, ROWS)
    assert capsys.readouterr().out == plain_table(COLUMNS, ROWS) + "\n"


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "1970-01-01 00:00:00Z"),
        (1_700_000_000_999, "2023-11-14 22:13:20Z"),
        (10**18, ""),
        (-(10**18), ""),
    ],
)
def test_times_are_in_utc_and_what_is_none_is_empty(at_ms: int, text: str) -> None:
    assert time_text(at_ms) == text


def test_a_cell_has_readable_json() -> None:
    assert short_json({"a": [1, None], "b": "é"}) == '{"a": [1, null], "b": "é"}'


def test_the_local_stack_is_heard_once_on_stderr() -> None:
    logger = logging.getLogger("feedmill.deploy.local")
    print_local_stack_log()
    print_local_stack_log()
    assert len(logger.handlers) == 1
    assert logger.isEnabledFor(logging.INFO)
