"""Times and time spans as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])\Z")


def parse_duration(text: str) -> int | None:
    """Return the milliseconds of ``90s``, ``30m``, ``2h`` or ``7d``; None for anything else."""
    match = _DURATION.match(text)
    return int(float(match[1]) * _UNITS_MS[match[2]]) if match and float(match[1]) else None


def duration_text(ms: int) -> str:
    """Return milliseconds as `parse_duration` takes them, in the largest unit that leaves 2."""
    unit = next((u for u in reversed(_UNITS_MS) if ms >= 2 * _UNITS_MS[u]), "s")
    return f"{ms // _UNITS_MS[unit]}{unit}"


def age_text(age_ms: int) -> str:
    """An age in its largest unit: 12 s, 5 m, 3 h, 2 d."""
    seconds = max(age_ms, 0) // 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def time_text(at_ms: int) -> str:
    """Unix milliseconds as a time in UTC to the second; "" for a number that is no time."""
    try:
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return at.strftime("%Y-%m-%d %H:%M:%SZ")
