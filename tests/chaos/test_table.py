"""The word at the end of a row: what is wrong fails, what took long is slow."""

import pytest

from chaos.scenario import Row
from chaos.table import line_of
from chaos.verdict import Verdict


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
def test_the_result(
    lost: int, seconds: float, peak_mb: float, failures: tuple[str, ...], result: str
) -> None:
    verdict = Verdict()
    verdict.add("lost", lost, "post p is not in Redis")
    row = Row("kill", 3, 1000, verdict, seconds, 11.0, peak_mb, failures=failures)
    assert line_of(row).split()[-1] == result
    assert bool(row.problems) is (result == "FAIL")
