"""The rows that a model learned from, kept beside it: one Parquet file a data set.

``snapshots/<sha256>.parquet`` of a store; the card names the sha256.  The same rows give the same
bytes with the same pyarrow, so a file of posts that trains many models is stored once.
`training.purge` takes posts out again.  pyarrow is in the extra `train`, imported where it is used.

A snapshot of impressions has no user: a row is an impression, with the version that was shown, what
was counted before, and how the user reacted.  Of the author it has a hash.
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
from feedmill.events.post import Media, Post
from feedmill.features.authorship import UNKNOWN_AUTHOR
from feedmill.features.media import IMAGE, LINK, MEDIA_KINDS, UNKNOWN, media_kind
from feedmill.models.artifact import Snapshot, sha256_of
from feedmill.models.store_files import Store, write_file
from feedmill.rankers.engagement import HEADS
from feedmill.rankers.impressions import Impressions
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.datasets.tables import Table

FOLDER = "snapshots"
FILE = re.compile(r"([0-9a-f]{64})\.parquet")
_SOURCE = b"feedmill"
_OWN_COLUMNS = ("label", "impressions", "group", "split")

_NUMBERS = ("version", "at_ms", "weight", "clicks", "impressions")
_OF_POSTS = ("post_id", "created_at_ms", "community", "text")
# Files from before do not have them: there the kind of media and the author are unknown.
_MEDIA, _AUTHOR = "media", "author"


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

    Raises `UsageError`: it was altered, or cannot be read.
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


def save_impressions(store: Store, rows: Impressions) -> Snapshot:
    """Write impressions into a store, and return what a card states of them.

    Raises `OSError` or `UsageError` where the store cannot be written.
    """
    content = pack_impressions(rows)
    sha256 = sha256_of(content)
    write_file(store, name_of(sha256), content)
    return Snapshot(sha256, len(rows), (*_NUMBERS, *_OF_POSTS, _MEDIA, _AUTHOR, *HEADS))


def pack_impressions(rows: Impressions) -> bytes:
    """Return the bytes of the file; the same impressions give the same bytes."""
    import pyarrow  # noqa: PLC0415 the `train` extra
    from pyarrow import parquet  # noqa: PLC0415 the `train` extra

    shown, version = np.unique(rows.versions, return_inverse=True)
    posts = [rows.posts[n] for n in shown.tolist()]
    of_posts: dict[str, list[Any]] = {
        "post_id": [post.post_id for post in posts],
        "created_at_ms": [post.created_at_ms for post in posts],
        "community": [post.communities[0] if post.communities else "" for post in posts],
        "text": [post.text for post in posts],
        _MEDIA: [_name_of(media_kind(post)) for post in posts],
        _AUTHOR: rows.authors[shown].tolist(),
    }
    columns: dict[str, Any] = dict(
        zip(
            _NUMBERS,
            (version, rows.at_ms, rows.weights, rows.clicks, rows.impressions),
            strict=True,
        )
    )
    types = {_MEDIA: pyarrow.string(), _AUTHOR: pyarrow.int64()}
    columns |= {
        name: pyarrow.array(values, types.get(name)).take(version)
        for name, values in of_posts.items()
    }
    columns |= {kind: rows.reacted(kind) for kind in HEADS}
    written = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), written, compression="zstd")
    return written.getvalue()


def read_impressions(path: Path) -> Impressions:
    """Read a file that `save_impressions` wrote.

    Raises `UsageError`: it cannot be read, or a column is missing.
    """
    from pyarrow import ArrowException, parquet  # noqa: PLC0415 the `train` extra

    try:
        of_post = [*_OF_POSTS, *({_MEDIA, _AUTHOR} & {*parquet.read_schema(path).names})]
        table = parquet.read_table(path, columns=[*_NUMBERS, *of_post, *HEADS])
        numbers = {name: table[name].to_numpy() for name in (*_NUMBERS, *HEADS)}
        # Of versions that were purged the numbers are missing.
        _, first, versions = np.unique(numbers["version"], return_index=True, return_inverse=True)
        of_posts = table.select(of_post).take(first).to_pylist()
    except (OSError, ArrowException, KeyError, ValueError) as error:
        raise UsageError(
            f"{path}: no snapshot of impressions, as `train engagement --from-topics` writes it:"
            f" {error}"
        ) from error
    weights, clicks, impressions = (numbers[name].astype(np.float64) for name in _NUMBERS[2:])
    return Impressions(
        [_post(values) for values in of_posts],
        versions.astype(np.int64),
        numbers["at_ms"].astype(np.int64),
        weights,
        clicks,
        impressions,
        np.column_stack([numbers[kind].astype(np.bool_) for kind in HEADS]),
        np.array([values.get(_AUTHOR, UNKNOWN_AUTHOR) for values in of_posts], dtype=np.int64),
    )


def _name_of(kind: int) -> str | None:
    return None if kind == UNKNOWN else MEDIA_KINDS[kind]


def _post(values: dict[str, Any]) -> Post:
    """Build a post of which `media_kind` says what the file does."""
    community, kind = values["community"], values.get(_MEDIA)
    media = (Media("", kind),) if kind in MEDIA_KINDS[IMAGE:] else ()
    return Post(
        values["post_id"],
        "unknown",
        values["created_at_ms"],
        values["text"],
        links=("",) if kind == MEDIA_KINDS[LINK] else None,
        media=None if kind is None else media,
        communities=(community,) if community else None,
    )
