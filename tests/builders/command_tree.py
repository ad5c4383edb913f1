"""The commands of the command line, each by its words."""

from collections.abc import Iterator

import click


def command_tree(command: click.Command, words: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield a command or group, and all that are in it."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from command_tree(child, f"{words} {name}".strip())


def leaves(command: click.Command) -> dict[str, click.Command]:
    """The commands that do something."""
    return {words: one for words, one in command_tree(command) if not isinstance(one, click.Group)}
