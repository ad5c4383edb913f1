"""`feedmill models`: versions of models, released to running workers, and compared."""

from __future__ import annotations

import click

from feedmill.cli import LazyGroup

_PLACES = {
    "list": "models.versions:list_command",
    "show": "models.versions:show_command",
    "purge": "models.versions:purge_command",
    "diff": "models.compare:diff",
    "compare": "models.compare:compare",
    "release": "models.releases:release",
    "rollback": "models.releases:rollback",
    "freeze": "models.releases:freeze",
    "unfreeze": "models.releases:unfreeze",
    "shadow": "models.releases:shadow",
    "health": "model_health:health",
    "watch": "models.watch:watch",
}


@click.group(cls=LazyGroup, places=_PLACES)
def models() -> None:
    """Release versions of models to running workers, compare them, and go back.

    Versions come from the store FEEDMILL_MODELS, and from the models that ship with feedmill.
    """
