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
        command = getattr(importlib.import_module(f"feedmill.cli.{module}"), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"cli/{module}.py defines no click command `{name}`")
        return command
