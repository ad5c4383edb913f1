"""Tables, JSON and times as commands print them."""

import json
import logging
from dataclasses import dataclass

import click
import numpy as np
import pytest
from click.testing import CliRunner

from feedmill.cli import output
from feedmill.cli.output import (
    Answer,
    Columns,
    answers,
    plain_table,
    print_json,
    print_local_stack_log,
    print_table,
    rich_table,
    short_json,
    show,
    table_of,
)
from feedmill.events.errors import UsageError
from feedmill.operations.times import time_text

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


# --- answers ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    name: str
    count: int
    share: float | None
    at_ms: int
    tags: tuple[str, ...] = ()


SHOWN = Row("a", 1200, 0.25, 1_700_000_000_000, ("x", "y"))


def test_a_cell_is_a_field_in_its_format_or_what_a_function_says() -> None:
    columns: Columns = {
        **{"name": "name", "n>": "count", "n, again>": "count:,", "share>": "share:.1%"},
        **{"at": "at_ms:time", "age": "count:span", "tags": "tags"},
        "both": lambda row: f"{row.name}{row.count}",
    }
    nothing = Row("b", 0, None, 0)
    table = table_of([SHOWN, nothing], columns)
    assert table.columns == [*columns]
    times = "2023-11-14 22:13:20Z", "1s"
    assert table.rows[0] == ["a", "1200", "1,200", "25.0%", *times, "x, y", "a1200"]
    assert table.rows[1][3] == "-"
    assert table_of([{"name": None}], {"name": "name"}).rows == [[""]]


def answered(answer: Answer | None, *words: str) -> tuple[int, str]:
    """The exit code, and what a command prints that returns this."""

    @click.command()
    @answers
    def command() -> Answer | None:
        return answer

    result = CliRunner().invoke(command, list(words))
    return result.exit_code, result.output


def test_an_answer_is_printed_as_json_or_as_lines() -> None:
    answer = show([SHOWN], {"name": "name"}, before=["first"], after=["last"])
    assert answered(answer) == (0, "first\nname\na\nlast\n")
    (said,) = json.loads(answered(answer, "--json")[1])
    assert [*said] == ["name", "count", "share", "at_ms", "tags"]
    assert said["tags"] == ["x", "y"]
    assert answered(None, "--json") == (0, "")


def test_without_rows_people_read_a_sentence_and_programs_an_empty_list() -> None:
    answer = show([], {"name": "name"}, empty="there is none")
    assert answered(answer) == (0, "there is none\n")
    assert answered(answer, "--json") == (0, "[]\n")


def test_numbers_of_numpy_are_numbers_and_what_json_has_not_is_refused() -> None:
    assert answered(Answer({"value": np.float64(0.5)}), "--json") == (0, '{"value": 0.5}\n')
    assert answered(Answer({"value": 1j}), "--json")[0] == 1


def test_a_failure_comes_after_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="one is missing"):
        output.print_answer(Answer([], ["said"], UsageError("one is missing")), as_json=False)
    assert capsys.readouterr().out == "said\n"
    assert answered(Answer({}, ["said"], click.exceptions.Exit(1))) == (1, "said\n")
    assert answered(Answer({}, ["said"], click.exceptions.Exit(1)), "--json") == (1, "{}\n")


def test_lines_are_made_for_people_alone() -> None:
    def lines() -> list[str]:
        raise UsageError("nothing to see")

    generated = Answer([1], (line for _ in (1,) for line in lines()))
    assert answered(generated, "--json") == (0, "[1]\n")
    assert answered(Answer([1], (line for _ in (1,) for line in lines())))[0] == 1
