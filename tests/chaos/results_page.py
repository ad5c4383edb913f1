"""The table of the last long run in docs/chaos.md: a row is replaced when its fault runs again."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from chaos.scenario import Row
from chaos.table import COLUMNS, cells

PAGE = Path(__file__).parents[2] / "docs" / "chaos.md"
_BEGIN, _END = "<!-- long run -->\n", "<!-- end of long run -->"
_HEAD = f"| {' | '.join((*COLUMNS, 'run'))} |\n|---|{'--:|' * (len(COLUMNS) - 2)}---|---|\n"


def write_rows(rows: Sequence[Row], seed: int) -> None:
    """Write the rows of a scenario to the page."""
    text = PAGE.read_text("utf-8")
    before, rest = text.split(_BEGIN)
    table, after = rest.split(_END)
    PAGE.write_text(before + _BEGIN + merged(table, rows, _run(seed)) + _END + after, "utf-8")


def merged(table: str, rows: Sequence[Row], run: str) -> str:
    """The table with these rows instead of those of the same faults."""
    lines = {
        line.split(" | ")[0].removeprefix("| "): line
        for line in table.splitlines()
        if line.startswith("| ") and not line.startswith(f"| {COLUMNS[0]} |")
    }
    lines |= {row.fault: f"| {' | '.join((*cells(row), run))} |" for row in rows}
    return _HEAD + "".join(f"{lines[fault]}\n" for fault in sorted(lines))


def _run(seed: int) -> str:
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} cores, {memory_gb:.0f} GB, Python {platform.python_version()}"
    return f"{datetime.date.today()}, seed {seed}, {machine}"
