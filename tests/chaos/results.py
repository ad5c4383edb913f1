"""The table that a run prints."""

import math

from chaos.scenario import Row

COLUMNS = (
    *("fault", "rounds", "events", "lost", "double", "wrong order"),
    *("recovers in s", "bar s", "peak MB", "result"),
)
_FAULT_WIDTH = 58


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
