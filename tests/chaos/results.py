"""The table that a run prints, and that of the last long runs in docs/chaos.md."""

import datetime
import math
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from chaos.scenario import Row

COLUMNS = (
    *("fault", "rounds", "events", "lost", "double", "wrong order"),
    *("recovers in s", "bar s", "peak MB", "result"),
)
_FAULT_WIDTH = 58
PAGE = Path(__file__).parents[2] / "docs" / "chaos.md"
_BEGIN, _END = "<!-- long run -->\n", "<!-- end of long run -->"
# Three of the table's columns are one, and the last names a run in the list below.
_COLUMNS = ("scenario", *COLUMNS[:3], "lost/double/wrong order", *COLUMNS[6:], "run")
_HEAD = f"| {' | '.join(_COLUMNS)} |\n|---|---|{'--:|' * (len(_COLUMNS) - 4)}---|--:|\n"


def cells(row: Row) -> tuple[str, ...]:
    """A row as texts, in the order of `COLUMNS`."""
    return (
        row.fault,
        str(row.rounds),
        str(row.events),
        str(row.verdict.lost),
        str(row.verdict.double),
        str(row.verdict.wrong_order),
        f"{row.recover_s:.1f}",
        "-" if math.isinf(row.recover_bar_s) else f"{row.recover_bar_s:.0f}",
        f"{row.peak_mb:.0f}",
        "FAIL" if row.problems else "slow" if row.is_slow else "pass",
    )


def _line(texts: tuple[str, ...]) -> str:
    return texts[0].ljust(_FAULT_WIDTH) + "".join(
        text.rjust(len(column) + 2) for text, column in zip(texts[1:], COLUMNS[1:], strict=True)
    )


HEADER = _line(COLUMNS)


def line_of(row: Row) -> str:
    """A row as a line under `HEADER`."""
    return _line(cells(row))


def write_rows(name: str, rows: Sequence[Row], seed: int) -> None:
    """Replace the rows of a scenario on the page, but not by those that say that it broke off."""
    before, table, after = _parts(PAGE.read_text("utf-8"))
    PAGE.write_text(before + merged(table, name, rows, _run(seed)) + after, "utf-8")


def read_rows(page: str) -> list[tuple[str, str]]:
    """Scenario and fault of every row of the page, in its order."""
    return [_key(line) for line in _rows(_parts(page)[1])]


def merged(table: str, name: str, rows: Sequence[Row], run: str) -> str:
    """The table with these rows instead of all that it had of the scenario, and its runs below.

    Where the scenario broke off, rows of faults that it did not come to stay.
    """
    finished = [row for row in rows if row.rounds]
    broke_off = len(finished) < len(rows)
    numbered = dict(re.findall(r"^(\d+)\. (.+)$", table, re.MULTILINE))
    lines = {}
    for line in _rows(table):
        before, number = line.removesuffix(" |").rsplit(" | ", 1)
        if broke_off or _key(line)[0] != name:
            lines[_key(line)] = before, numbered[number]
    lines |= {(name, row.fault): (_page_line(name, row), run) for row in finished}
    runs = sorted({run for _, run in lines.values()})
    shown = [f"{before} | {runs.index(run) + 1} |\n" for _, (before, run) in sorted(lines.items())]
    listed = [f"{number}. {run}\n" for number, run in enumerate(runs, 1)]
    return _HEAD + "".join([*shown, "\n", *listed])


def _page_line(name: str, row: Row) -> str:
    """A row without its run."""
    texts = cells(row)
    return f"| {' | '.join((name, *texts[:3], '/'.join(texts[3:6]), *texts[6:]))}"


def _parts(page: str) -> tuple[str, str, str]:
    before, rest = page.split(_BEGIN)
    table, after = rest.split(_END)
    return before + _BEGIN, table, _END + after


def _rows(table: str) -> list[str]:
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [line for line in lines if line not in _HEAD.splitlines()]


def _key(line: str) -> tuple[str, str]:
    scenario, fault, *_ = line.removeprefix("| ").split(" | ")
    return scenario, fault


def _run(seed: int) -> str:
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} cores, {memory_gb:.0f} GB, Python {platform.python_version()}"
    return f"{datetime.date.today()}, seed {seed}, {machine}, load {os.getloadavg()[1]:.0f}"
