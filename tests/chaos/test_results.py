"""The word at the end of a row."""

from typing import Any

import pytest

from chaos.results import line_of
from chaos.scenario import Row
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
def test_what_is_wrong_fails_and_what_took_long_is_slow(
    lost: int, seconds: float, peak_mb: float, failures: tuple[str, ...], result: str
) -> None:
    verdict = Verdict()
    verdict.add("lost", lost, "post p is not in Redis")
    measured: dict[str, Any] = {"recover_s": seconds, "recover_bar_s": 11.0, "peak_mb": peak_mb}
    one = Row(fault="kill", verdict=verdict, **measured, failures=failures)
    assert line_of(one).split()[-1] == result
    assert bool(one.problems) is (result == "FAIL")
    assert one.is_slow is (seconds > 11.0)
    assert Row.failed("kill", "it broke").problems == ["it broke"]
