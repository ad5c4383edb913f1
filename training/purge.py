"""Take deleted posts out of the snapshots of a store, and have the cards say so.

The models stay as they are: train again from the snapshots for one that never saw the posts.
Needs the extra `train` (pyarrow), imported where it is used.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any

import msgspec

from feedmill.events.decode import decode_post
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.post import Deletion
from feedmill.models.artifact import (
    DataUse,
    ModelCard,
    Purge,
    Snapshot,
    card_file,
    card_files,
    sha256_of,
)
from feedmill.models.store_files import (
    Store,
    file_sizes,
    place_of,
    read_file,
    remove_file,
    write_file,
)
from feedmill.training.datasets.snapshots import FILE, FOLDER, name_of, packed

_MOST_BYTES = 1024**3


@dataclass(frozen=True)
class PurgedSnapshot:
    """What became of a snapshot: its sha256 before and now, the rows gone, the cards changed."""

    before: str
    now: str
    rows: int
    cards: tuple[str, ...]


def purge(store: Store, post_ids: Set[str], day: str) -> list[PurgedSnapshot]:
    """Write each snapshot that has one of the posts anew without them; the old file is removed.

    The cards that name it name the new one, with `day` and the number of rows.  What a crash left
    half done, the next call completes.

    Raises `UsageError` where a snapshot was altered, or the store cannot be read or written.
    """
    found = []
    for file in sorted(file_sizes(store, FOLDER)):
        if matched := FILE.fullmatch(file):
            purged = _purge_one(store, matched[1], post_ids, day)
            found += [purged] if purged else []
    return found


def deleted_posts(records: Iterable[tuple[bytes | None, bytes | None]]) -> set[str]:
    """Return the ids whose last record of `posts`, by key and value in order, deletes the post."""
    deleted = set()
    for key, value in records:
        try:
            post = decode_post(key, value)
        except BadEvent:
            continue
        if isinstance(post, Deletion):
            deleted.add(post.post_id)
        else:
            deleted.discard(post.post_id)
    return deleted


def _purge_one(store: Store, sha256: str, post_ids: Set[str], day: str) -> PurgedSnapshot | None:
    name = name_of(sha256)
    content = read_file(store, name, _MOST_BYTES)
    if sha256_of(content) != sha256:
        raise UsageError(
            f"{place_of(store, name)}: it was altered; restore it, or remove it to go on"
        )
    left = _without(content, post_ids)
    if left is None:
        return None
    table, rows = left
    new = packed(table)
    now = Snapshot(sha256_of(new), table.num_rows, tuple(table.column_names))
    # In this order a crash leaves every card with a snapshot, and the next purge finds the old one.
    write_file(store, name_of(now.sha256), new)
    cards = _renamed(store, sha256, now, Purge(day, rows))
    remove_file(store, name)
    return PurgedSnapshot(sha256, now.sha256, rows, cards)


def _without(content: bytes, post_ids: Set[str]) -> tuple[Any, int] | None:
    """Return the table without some posts, and how many rows are gone; None where none is."""
    import pyarrow as pa  # noqa: PLC0415 the `train` extra
    from pyarrow import compute, parquet  # noqa: PLC0415 the `train` extra

    ids = parquet.read_table(io.BytesIO(content), columns=["post_id"])["post_id"]
    gone = compute.is_in(ids, value_set=pa.array(sorted(post_ids), pa.string()))
    rows = compute.sum(gone).as_py() or 0
    if not rows:
        return None
    return parquet.read_table(io.BytesIO(content)).filter(compute.invert(gone)), int(rows)


def _renamed(store: Store, sha256: str, now: Snapshot, purge_: Purge) -> tuple[str, ...]:
    """Have the cards that name a snapshot name the new one; return their models."""
    sizes = {name: n for name, n in file_sizes(store).items() if name.endswith(".json")}
    changed = []
    for name, card in card_files(store, sizes, ModelCard).items():
        uses = [_use(use, sha256, now, purge_) for use in card.data]
        if uses != card.data:
            renamed: ModelCard = msgspec.structs.replace(card, data=uses)
            write_file(store, name, card_file(renamed))
            changed.append(f"{card.name}@{card.version}")
    return tuple(changed)


def _use(use: DataUse, sha256: str, now: Snapshot, purge_: Purge) -> DataUse:
    if use.snapshot is None or use.snapshot.sha256 != sha256:
        return use
    purged = (*use.snapshot.purged, purge_)
    return msgspec.structs.replace(use, snapshot=msgspec.structs.replace(now, purged=purged))
