"""A long run of a scenario replaces its rows on the page, and no others."""

import pkgutil
from collections import Counter

import chaos.scenarios
from chaos.results_page import PAGE, merged, read_rows
from chaos.scenario import Row
from chaos.verdict import Verdict


def row(fault: str, lost: int = 0) -> Row:
    return Row(fault, 5, 1000, Verdict(lost=lost), 3.0, 11.0, 200.0)


def keys(table: str) -> list[list[str]]:
    return [line.split(" | ")[:2] for line in table.splitlines()[2:]]


def test_a_run_replaces_all_rows_of_its_scenario() -> None:
    first = merged("", "workers", [row("kill"), row("pause")], "seed 1")
    both = merged(first, "redis", [row("kill")], "seed 2")
    assert keys(both) == [["| redis", "kill"], ["| workers", "kill"], ["| workers", "pause"]]
    # `pause` has another name now.
    again = merged(both, "workers", [row("kill", lost=3), row("stop")], "seed 3")
    assert keys(again) == [["| redis", "kill"], ["| workers", "kill"], ["| workers", "stop"]]
    assert "| workers | kill | 5 | 1000 | 3 | 0 | 0 | 3.0 | 11 | 200 | pass | seed 3 |" in again
    assert "| seed 2 |" in again


def test_a_scenario_that_broke_off_replaces_what_it_came_to() -> None:
    first = merged("", "workers", [row("kill"), row("pause")], "seed 1")
    second = merged(first, "workers", [row("kill"), Row.failed("workers", "it broke")], "seed 2")
    assert keys(second) == [["| workers", "kill"], ["| workers", "pause"]]
    assert second.count("| seed 1 |") == second.count("| seed 2 |") == 1


def test_a_row_that_is_there_twice_stays_once() -> None:
    table = merged("", "workers", [row("kill")], "seed 1")
    twice = table + table.splitlines()[-1] + "\n"
    assert merged(twice, "redis", [], "seed 2") == table


def test_the_page_has_each_row_once_and_a_row_of_each_scenario() -> None:
    rows = read_rows(PAGE.read_text("utf-8"))
    assert [key for key, number in Counter(rows).items() if number > 1] == []
    names = {module.name for module in pkgutil.iter_modules(chaos.scenarios.__path__)}
    assert {scenario for scenario, _ in rows} == names


def test_every_bar_of_a_row_can_fail() -> None:
    assert row("kill").problems == []
    slow = Row("a", 1, 1, Verdict(), 12.0, 11.0, 1.0)
    assert (slow.problems, slow.is_slow) == ([], True)
    assert Row("a", 1, 1, Verdict(), 1.0, 11.0, 300.0, peak_bar_mb=200.0).problems
    assert Row.failed("a", "it broke").problems == ["it broke"]
    wrong = Verdict()
    wrong.add("lost", 2, "post p1")
    assert Row("a", 1, 1, wrong, 1.0, 11.0, 1.0).problems == ["lost: post p1"]
