"""`feedmill backup|restore`: what people decided and trained, in a folder, and from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from rich.filesize import decimal

from feedmill.cli import FOLDER
from feedmill.cli.options import (
    asks_installation,
    by_option,
    made_by,
    note_option,
    with_environment,
)
from feedmill.cli.output import Answer, answers
from feedmill.operations.backups import Restored, make_backup, restore_backup
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


@click.command("restore")
@click.argument("folder", type=FOLDER)
@by_option
@note_option
@with_environment
@answers
def restore(environment: Environment, folder: Path, by: str | None, note: str) -> Answer:
    """Write the backup in FOLDER into the empty topics of a prefix, and into its model store.

    Create the topics first, with as many partitions as you want. Every byte is checked before
    anything is written, and all records count or none. Then start the workers, and have the product
    send its posts and engagements again.
    """
    found = restore_backup(environment, environment.models, folder, made_by(by, note))
    return Answer(found, _lines(found))


def _lines(found: Restored) -> Iterator[str]:
    manifest = found.manifest
    yield f"restored what {manifest.kafka} had under {manifest.topic_prefix!r} {manifest.made_at}"
    for topic, count in manifest.records.items():
        yield f"{topic}: {count:,} records{_moved(found.offsets.get(topic, {}))}"
    yield f"{found.files} files of the model store"
    if found.versions:
        yield (
            "these overrides hold for one version of a post, by its offset in `posts`, which is"
            " another one once posts are written again; decide them again:"
        )
        yield from (f"  {key}" for key in found.versions)


def _moved(offsets: dict[int, int]) -> str:
    changed = {old: new for old, new in offsets.items() if old != new}
    if not changed:
        return ""
    (old, new), last = next(iter(changed.items())), [*changed.items()][-1]
    return (
        f"; from offset {old} on they have other offsets, {old} is {new}, {last[0]} is {last[1]}:"
        " read a setting again before you send `if_offset`"
    )
