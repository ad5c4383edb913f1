"""The command line: a module, or a folder, for each command; and what options are made of."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from feedmill.operations.times import parse_duration

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
PORT = click.IntRange(0, 65_535)
COUNT = click.IntRange(min=1)
SHARE = click.FloatRange(0, 1)
SECONDS = click.FloatRange(min=0)

Command = Callable[..., Any]
Option = Callable[[Command], Command]


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


class LazyGroup(click.Group):
    """Finds each command by its name in `places`, as `module:attribute` of `feedmill.cli`."""

    def __init__(self, *args: Any, places: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.places:
            return None
        module, _, name = self.places[cmd_name].partition(":")
        try:
            command = getattr(importlib.import_module(f"feedmill.cli.{module}"), name)
        except ModuleNotFoundError as error:
            return _without(cmd_name, error)
        if not isinstance(command, click.Command):
            raise TypeError(f"cli/{module}.py defines no click command `{name}`")
        return command


def _without(name: str, error: ModuleNotFoundError) -> click.Command:
    """Return a command that has a line in the help, and fails for the lack of a package."""

    def fail() -> None:
        raise error

    any_words = {"ignore_unknown_options": True, "allow_extra_args": True}
    said = f"Needs {error.name}, which is not installed."
    return click.Command(name, any_words, fail, help=said)


def option(
    declared: str,
    text: str,
    kind: Any = None,
    default: Any = None,
    *,
    name: str = "",
    **others: Any,
) -> Option:
    """Return an option, declared as its help shows it: `--for SECONDS`, of a kind that click knows.

    The command gets it by the flag's name, or by `name`. The help shows the default, unless the
    text says in brackets what holds without the option.
    """
    flags, _, metavar = declared.partition(" ")
    settings: dict[str, Any] = {"type": kind, "metavar": metavar or None, "help": text}
    if default is not None:
        settings |= {"default": default, "show_default": default != "" and "  [" not in text}
    return click.option(*filter(None, (flags, name)), **{**settings, **others})


def flag(declared: str, text: str, name: str = "") -> Option:
    """Return an option that is given or not."""
    return option(declared, text, name=name, is_flag=True)


def together(*options: Option) -> Option:
    """Return a decorator that gives a command these options, in this order."""
    return lambda command: functools.reduce(lambda one, add: add(one), reversed(options), command)
