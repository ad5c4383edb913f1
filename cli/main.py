"""The command line `feedmill`: the list of its commands, and how a command fails.

To add a command, write `cli/<name>.py` with a click command `<name>`, and add the name to
`COMMANDS`; there a hyphen stands for an underscore.  A group of many commands is a folder.
"""

from __future__ import annotations

import errno
import os
import re
from difflib import get_close_matches
from typing import IO, Any

import click

from feedmill.cli import LazyGroup
from feedmill.events.errors import BadCredentials, FeedmillError

# In the order of `feedmill --help`.
COMMANDS = (
    "run",
    "console",
    "worker",
    "reader",
    "token",
    "replay",
    "feed",
    "page",
    "explain",
    "posts",
    "health",
    "latency",
    "doctor",
    "acls",
    "config",
    "weights",
    "gates",
    "rates",
    "override",
    "audit",
    "dead-letters",
    "topics",
    "groups",
    "backup",
    "restore",
    "local",
    "sample",
    "score",
    "labels",
    "models",
    "lists",
    "train",
    "evaluate",
    "examination",
    "experiments",
    "tune",
)

_NO_COMMAND = re.compile(r"No such command '(?P<name>.*)'\.")

# What the extras `train` and `experiments` install, by the names of its modules.
_TRAIN_MODULES = ("duckdb", "lightgbm", "pyarrow", "scipy", "sklearn")

# What a user can put right, by the number of the error.
_OF_THE_DISK = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room on that disk",
    errno.EACCES: "choose a place that you may write to",
    errno.EPERM: "choose a place that you may write to",
    errno.EROFS: "choose a place that you may write to",
}


class CommandFailed(click.ClickException):
    """Ends a command with its reason in one line on stderr and exit code 1."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"feedmill: {self.message}", file=file, err=file is None)


class CommandGroup(LazyGroup):
    """The commands of `COMMANDS`, and what users are told where one of them fails."""

    def __init__(self, *args: Any, **options: Any) -> None:
        names = [name.replace("-", "_") for name in COMMANDS]
        places = {word: f"{name}:{name}" for word, name in zip(COMMANDS, names, strict=True)}
        places["restore"] = "backup:restore"
        super().__init__(*args, places=places, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            _suggest_command(error)
            raise
        except FeedmillError as error:
            failed = CommandFailed(str(error))
            if isinstance(error, BadCredentials):
                # A supervisor does not start it again: the next start would fail as well.
                failed.exit_code = os.EX_CONFIG
            raise failed from error
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] not in _TRAIN_MODULES:
                raise
            is_tried = ctx.invoked_subcommand in {"experiments", "tune"}
            extra = "experiments" if is_tried else "train"
            raise CommandFailed(
                f"`{ctx.invoked_subcommand}` needs {error.name}, which is not installed; install"
                f" it with pip install 'feedmill[{extra}]'"
            ) from error
        except OSError as error:
            if error.errno in _OF_THE_DISK and error.filename:
                raise CommandFailed(
                    f"{error.filename}: {error.strerror}; {_OF_THE_DISK[error.errno]}, then run the"
                    " command again: no file is half written"
                ) from error
            # LightGBM's wheel needs a library of the system, which not every machine has.
            if "libgomp" not in str(error):
                raise
            raise CommandFailed(
                f"`{ctx.invoked_subcommand}` needs LightGBM, which cannot be loaded: {error};"
                " install libgomp, for example with apt install libgomp1"
            ) from error


def _suggest_command(error: click.UsageError) -> None:
    """Add to the refusal of an unknown command which one may be meant; click does so of options."""
    match = _NO_COMMAND.fullmatch(error.message)
    if match is None or error.ctx is None or not isinstance(error.ctx.command, click.Group):
        return
    commands = error.ctx.command.list_commands(error.ctx)
    close = get_close_matches(match["name"], commands, 1, cutoff=0.7)
    if close:
        error.message += f" Did you mean {close[0]!r}?"


@click.group(cls=CommandGroup)
@click.version_option(package_name="feedmill")
def main() -> None:
    """Rank newsfeeds: posts in from Kafka, independent models, feeds out to Redis.

    Commands find Kafka and Redis by the variables FEEDMILL_KAFKA and FEEDMILL_REDIS. If neither
    is set, they use the local stack if it runs.
    """


if __name__ == "__main__":
    main(prog_name="feedmill")
