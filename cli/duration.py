"""Time spans on a command line."""

from __future__ import annotations

from typing import Any

import click

from feedmill.operations.times import parse_duration


class Duration(click.ParamType):
    """A time span such as ``90s``, ``30m``, ``2h`` or ``7d``; converts to milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = parse_duration(str(value))
        if found is None:
            self.fail(f"expected a duration such as 90s, 30m, 2h or 7d, got {value!r}", param, ctx)
        return found
