"""Rows of a long run replace those of the same fault, and no others."""

from __future__ import annotations

from chaos.results_page import merged
from chaos.scenario import Row
from chaos.verdict import Verdict


def row(fault: str, lost: int = 0) -> Row:
    return Row(fault, 5, 1000, Verdict(lost=lost), 3.0, 11.0, 200.0)


def test_a_row_replaces_that_of_its_fault() -> None:
    first = merged("", [row("kill"), row("pause")], "seed 1")
    second = merged(first, [row("kill", lost=3)], "seed 2")
    assert [line.split(" | ")[0] for line in second.splitlines()[2:]] == ["| kill", "| pause"]
    assert "| kill | 5 | 1000 | 3 | 0 | 0 | 3.0 | 11 | 200 | pass | seed 2 |" in second
    assert "| seed 1 |" in second
    assert merged(second, [], "seed 3") == second


def test_every_bar_of_a_row_can_fail() -> None:
    assert row("kill").problems == []
    assert Row("a", 1, 1, Verdict(), 12.0, 11.0, 1.0).problems
    assert Row("a", 1, 1, Verdict(), 1.0, 11.0, 300.0, peak_bar_mb=200.0).problems
    assert Row.failed("a", "it broke").problems == ["it broke"]
    wrong = Verdict()
    wrong.add("lost", 2, "post p1")
    assert Row("a", 1, 1, wrong, 1.0, 11.0, 1.0).problems == ["lost: post p1"]
