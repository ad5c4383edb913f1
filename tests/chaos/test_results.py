"""The word at the end of a row; a long run replaces its rows on the page, and no others."""

import pkgutil
from collections import Counter

import pytest

import chaos.scenarios
from chaos.results import PAGE, line_of, merged, read_rows
from chaos.scenario import Row
from chaos.verdict import Verdict


def row(fault: str, lost: int = 0) -> Row:
    return Row(fault, 5, 1000, Verdict(lost=lost), 3.0, 11.0, 200.0)


def keys(table: str) -> list[list[str]]:
    return [line.split(" | ")[:2] for line in table.splitlines()[2:] if line.startswith("|")]


def test_a_run_replaces_all_rows_of_its_scenario() -> None:
    first = merged("", "workers", [row("kill"), row("pause")], "seed 1")
    both = merged(first, "redis", [row("kill")], "seed 2")
    assert keys(both) == [["| redis", "kill"], ["| workers", "kill"], ["| workers", "pause"]]
    # `pause` has another name now.
    again = merged(both, "workers", [row("kill", lost=3), row("stop")], "seed 3")
    assert keys(again) == [["| redis", "kill"], ["| workers", "kill"], ["| workers", "stop"]]
    assert "| workers | kill | 5 | 1000 | 3/0/0 | 3.0 | 11 | 200 | pass | 2 |" in again
    assert again.endswith("\n1. seed 2\n2. seed 3\n")


def test_a_scenario_that_broke_off_replaces_what_it_came_to() -> None:
    first = merged("", "workers", [row("kill"), row("pause")], "seed 1")
    second = merged(first, "workers", [row("kill"), Row.failed("workers", "it broke")], "seed 2")
    assert keys(second) == [["| workers", "kill"], ["| workers", "pause"]]
    assert second.count("| pass | 1 |") == second.count("| pass | 2 |") == 1
    assert second.endswith("\n1. seed 1\n2. seed 2\n")


def test_a_row_that_is_there_twice_stays_once() -> None:
    table = merged("", "workers", [row("kill")], "seed 1")
    line = next(line for line in table.splitlines() if "kill" in line)
    twice = table.replace(line, f"{line}\n{line}")
    assert merged(twice, "redis", [], "seed 2") == table


def test_the_page_has_each_row_once_and_a_row_of_each_scenario() -> None:
    rows = read_rows(PAGE.read_text("utf-8"))
    assert [key for key, number in Counter(rows).items() if number > 1] == []
    names = {module.name for module in pkgutil.iter_modules(chaos.scenarios.__path__)}
    assert {scenario for scenario, _ in rows} == names


@pytest.mark.parametrize(
    ("lost", "seconds", "peak_mb", "failures", "result"),
    [
        (0, 10.9, 200.0, (), "pass"),
        (0, 11.1, 200.0, (), "slow"),
        (0, 10.9, 1000.1, (), "FAIL"),
        (0, 11.1, 200.0, ("the lag was not visible",), "FAIL"),
        (1, 11.1, 200.0, (), "FAIL"),
    ],
)
def test_what_is_wrong_fails_and_what_took_long_is_slow(
    lost: int, seconds: float, peak_mb: float, failures: tuple[str, ...], result: str
) -> None:
    verdict = Verdict()
    verdict.add("lost", lost, "post p is not in Redis")
    one = Row("kill", 3, 1000, verdict, seconds, 11.0, peak_mb, failures=failures)
    assert line_of(one).split()[-1] == result
    assert bool(one.problems) is (result == "FAIL")
    assert one.is_slow is (seconds > 11.0)
    assert Row.failed("kill", "it broke").problems == ["it broke"]
