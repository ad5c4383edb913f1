"""Who makes a change, as a command knows it."""

from __future__ import annotations

import socket

import click

from feedmill.cli.options import user_name
from feedmill.operations.changes import MadeBy


def made_by(by: str | None, note: str | None = None) -> MadeBy:
    """Return who makes a change, for the audit: by which name, where, by this command, and why."""
    user, names = user_name(), list[str]()
    context = click.get_current_context()
    while context.parent is not None:
        names.insert(0, str(context.info_name))
        context = context.parent
    return MadeBy(by or user, user, socket.gethostname(), " ".join(names), note or "")
