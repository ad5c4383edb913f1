"""The command line: a module, or a folder, for each command."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


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
