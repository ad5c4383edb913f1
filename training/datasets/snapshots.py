"""The rows that a model learned from, kept beside it: one Parquet file a data set.

``snapshots/<sha256>.parquet`` of a store.  The same rows give the same bytes with the same pyarrow,
so a file of posts that trains many models is stored once.  `training.purge` takes posts out again.
pyarrow is in the extra `train`, imported where it is used.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.errors import UsageError
from feedmill.events.limits import FIRST_EVENT_MS
from feedmill.events.post import Post
from feedmill.models.artifact import Snapshot, sha256_of
from feedmill.models.store_files import Store, write_file
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.datasets.tables import Table

FOLDER = "snapshots"
FILE = re.compile(r"([0-9a-f]{64})\.parquet")
_SOURCE = b"feedmill"
_OWN_COLUMNS = ("label", "impressions", "group", "split")


class SnapshotSource(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the rows of a snapshot came from.

    Attributes
    ----------
    file, sha256, licence
        Of the file or topic, as cards state them.
    source, family, group, weight
        As in `Table`.
    labelled
        Whether `label` is one that somebody gave.
    """

    file: str
    sha256: str
    licence: str
    source: str
    family: str = ""
    group: str = ""
    weight: float = 1.0
    labelled: bool = True

    @property
    def table(self) -> Table:
        """The file as a table of the same name, split by the same rule."""
        return Table(
            Path(self.file),
            name=self.source,
            family=self.family,
            group=self.group,
            weight=self.weight,
        )


def save_snapshot(
    store: Store,
    rows: LabelledPosts,
    source: SnapshotSource,
    impressions: npt.NDArray[np.int64] | None = None,
) -> Snapshot:
    """Write rows into a store, and return what a card states of them.

    `impressions` (rows,) says of how many impressions a label counts the clicks.
    Raises `OSError` or `UsageError` where the store cannot be written.
    """
    table = _table(rows, source, impressions)
    content = packed(table)
    sha256 = sha256_of(content)
    write_file(store, name_of(sha256), content)
    return Snapshot(sha256, len(rows), tuple(table.column_names))


def name_of(sha256: str) -> str:
    """Return the name of a snapshot's file in its store."""
    return f"{FOLDER}/{sha256}.parquet"


def packed(table: Any) -> bytes:
    """Return a pyarrow table as the bytes of a Parquet file, the same for the same rows."""
    from pyarrow import parquet  # noqa: PLC0415 the `train` extra

    file = io.BytesIO()
    # In one piece: what was filtered or read in pieces gives the same bytes.
    parquet.write_table(table.combine_chunks(), file, compression="zstd")
    return file.getvalue()


def read_snapshot(path: Path) -> tuple[LabelledPosts, SnapshotSource] | None:
    """Read a snapshot's file; None for any other file.

    Raises
    ------
    UsageError
        It was altered, or cannot be read.
    """
    if path.suffix != ".parquet" or not path.is_file():
        return None
    described = _described(path)
    if described is None:
        return None
    _check_sha256(path)
    from pyarrow import ArrowException, parquet  # noqa: PLC0415 the `train` extra

    try:
        table = parquet.read_table(path)
        source = msgspec.json.decode(described, type=SnapshotSource)
        columns = {name: table[name].to_pylist() for name in _OWN_COLUMNS}
        posts = _posts(table.drop_columns(list(_OWN_COLUMNS)).to_pylist())
    except (ArrowException, msgspec.MsgspecError, KeyError) as error:
        raise UsageError(f"{path}: not a snapshot of this version ({error})") from error
    labels = np.array(columns["label"], dtype=np.float64)
    splits = np.array(columns["split"], dtype=np.str_)
    return LabelledPosts(source.source, posts, labels, columns["group"], splits), source


def _posts(rows: list[dict[str, Any]]) -> list[Post]:
    """Return posts of their columns; one of a file without times has 0, which no event has."""
    times = [row["created_at_ms"] for row in rows]
    for row, at_ms in zip(rows, times, strict=True):
        row["created_at_ms"] = max(at_ms, FIRST_EVENT_MS)
    posts = msgspec.convert(rows, list[Post])
    return [
        msgspec.structs.replace(post, created_at_ms=at_ms) if at_ms < FIRST_EVENT_MS else post
        for post, at_ms in zip(posts, times, strict=True)
    ]


def _described(path: Path) -> bytes | None:
    """Return what a snapshot's file says of its source; None for a file that others read."""
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 the `train` extra
    except ImportError:
        return None
    try:
        metadata: dict[bytes, bytes] = parquet.read_schema(path).metadata or {}
    except (ArrowException, OSError):
        return None
    return metadata.get(_SOURCE)


def _check_sha256(path: Path) -> None:
    named = FILE.fullmatch(path.name)
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if named and named[1] != actual:
        raise UsageError(
            f"{path}: it was altered (its sha256 is {actual[:12]}…); restore it, or train from the"
            " files that the card names"
        )


def _table(
    rows: LabelledPosts, source: SnapshotSource, impressions: npt.NDArray[np.int64] | None
) -> Any:
    import pyarrow as pa  # noqa: PLC0415 the `train` extra

    schema = _schema().with_metadata({_SOURCE: msgspec.json.encode(source, order="deterministic")})
    own = {
        "label": rows.labels,
        "impressions": [None] * len(rows) if impressions is None else impressions,
        "group": rows.groups,
        "split": rows.splits.tolist(),
    }
    of_post = [field for field in schema.names if field not in own]
    columns: dict[str, Any] = {
        name: [msgspec.to_builtins(getattr(post, name)) for post in rows.posts] for name in of_post
    }
    columns |= own
    arrays = [pa.array(columns[field.name], type=field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _schema() -> Any:
    import pyarrow as pa  # noqa: PLC0415 the `train` extra

    text, texts = pa.string(), pa.list_(pa.string())
    media = pa.list_(pa.struct([("url", text), ("kind", text), ("sha256", text)]))
    return pa.schema(
        [
            ("post_id", text),
            ("author_id", text),
            ("created_at_ms", pa.int64()),
            ("text", text),
            ("lang", text),
            ("links", texts),
            ("media", media),
            ("communities", texts),
            ("in_reply_to", text),
            ("self_labels", texts),
            ("label", pa.float64()),
            ("impressions", pa.int64()),
            ("group", text),
            ("split", text),
        ]
    )
