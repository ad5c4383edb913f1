"""The options of commands that change what runs: who, why, and how long to wait for the answers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from feedmill.cli.made_by import made_by
from feedmill.cli.options import Command, by_option, user_name, with_environment
from feedmill.cli.output import json_option
from feedmill.operations.changes import MadeBy

Option = Callable[[Command], Command]


def timeout_option(seconds: float) -> Option:
    """Return `--timeout`, of so many seconds unless somebody says otherwise."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0),
        default=seconds,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for the instances' answers; 0: do not wait.",
    )


note_option = click.option("--note", default="", metavar="TEXT", help="Why.")
# Workers try a version before they run it.
_release_timeout = timeout_option(90.0)


@dataclass(frozen=True)
class ChangeOptions:
    """Who changes what runs and why, how long to wait for the instances, and how to print that."""

    by: str
    note: str
    timeout_s: float
    as_json: bool

    @property
    def made_by(self) -> MadeBy:
        """Who and why, for the audit."""
        return made_by(self.by, self.note)

    def tell(self, line: str) -> None:
        """Print a line for people; nothing where the answer is JSON."""
        if not self.as_json:
            click.echo(line)


def with_change(
    *options: Option, timeout: Option = _release_timeout
) -> Callable[[Command], Command]:
    """Give a command an environment and `change: ChangeOptions`.

    It has `--timeout`, `--json` and these options, which may be `by_option` and `note_option`.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(
            *args: object,
            timeout_s: float,
            as_json: bool,
            by: str | None = None,
            note: str = "",
            **others: Any,
        ) -> Any:
            change = ChangeOptions(by or user_name(), note, timeout_s, as_json)
            return command(*args, change=change, **others)

        every: Sequence[Option] = (*options, timeout, json_option)
        decorated = with_environment(wrapped)
        for option in reversed(every):
            decorated = option(decorated)
        return decorated

    return decorate


with_named_change = with_change(by_option)
with_noted_change = with_change(by_option, note_option)
with_setting_change = functools.partial(with_change, timeout=timeout_option(15.0))
