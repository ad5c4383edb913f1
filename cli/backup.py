"""`feedmill backup`: what people decided and trained, in a folder."""

from __future__ import annotations

from pathlib import Path

import click
from rich.filesize import decimal

from feedmill.cli import FOLDER
from feedmill.cli.options import asks_installation
from feedmill.cli.output import Answer
from feedmill.operations.copies import make_backup
from feedmill.streams.environment import Environment
from feedmill.streams.settings.clock import now_ms


@click.command("backup")
@click.argument("folder", type=FOLDER)
@asks_installation
def backup(environment: Environment, folder: Path) -> Answer:
    """Write settings, overrides, releases, lists, labels, the audit and the model store to FOLDER.

    FOLDER is new or empty, and open to its owner alone. `feedmill restore` reads it. Workers go on
    meanwhile. Posts, engagements and what workers make of them are not in it.
    """
    manifest, files = make_backup(environment, environment.models, folder, now_ms())
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    store = f"{files} files of {environment.models}"
    lines = [
        *(f"{topic}: {count:,} records" for topic, count in manifest.records.items()),
        store if environment.models else "no model store: FEEDMILL_MODELS is not set",
        f"{folder}: {decimal(size)}; `sha256sum -c SHA256SUMS` checks it",
    ]
    return Answer(manifest, lines)
