"""`feedmill token`: who may sign in to the console, and who may ask a reader."""

from __future__ import annotations

from pathlib import Path

import click

from feedmill.cli import FILE, option
from feedmill.cli.output import Answer, answers, say, show
from feedmill.deploy.local import default_folder
from feedmill.streams.tokens import READER, ROLES, TokenFile

_FILE_HELP = "The file of the tokens' hashes.  [.feedmill/console-tokens.json]"
tokens_option = option("--tokens FILE", _FILE_HELP, FILE, name="tokens_path")


def token_file(path: Path | None) -> TokenFile:
    """Return the file of `--tokens`, or the console's own."""
    return TokenFile(path or default_folder().parent / "console-tokens.json")


@click.group()
def token() -> None:
    """Choose who may sign in to the console, and who may ask a reader."""


@token.command("add")
@click.argument("name")
@option("--role", "What they may do.", click.Choice((*ROLES, READER)), required=True)
@option("--rate N", "Of a reader: requests a second.", click.FLOAT)
@tokens_option
def add_command(name: str, role: str, rate: float | None, tokens_path: Path | None) -> None:
    """Print a new token, once: only its hash is kept.

    viewer reads; moderator overrides and labels; trainer releases; operator does everything.
    reader asks readers for pages, and signs nobody in.
    """
    say(token_file(tokens_path).add(name, role, rate))


@token.command("list")
@tokens_option
@answers
def list_command(tokens_path: Path | None) -> Answer:
    """List who has a token, with which role."""
    tokens = token_file(tokens_path).read()
    rows = [{"name": t.name, "role": t.role, "per_second": t.per_second} for t in tokens]
    columns = {"name": "name", "role": "role", "a second>": "per_second:g"}
    return show(rows, columns, empty="nobody has a token")


@token.command("remove")
@click.argument("name")
@tokens_option
def remove_command(name: str, tokens_path: Path | None) -> None:
    """Remove a token: a person is signed out, a program refused."""
    token_file(tokens_path).remove(name)
    say(f"the token of {name} counts no more")
