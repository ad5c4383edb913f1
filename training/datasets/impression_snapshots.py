"""A training run's impressions as a Parquet file named by its sha256, which the card names.

It has no user: a row is an impression, with the version that was shown, what was counted before,
and how the user reacted.  Of the author it has a hash.  pyarrow is imported where it is used: it
belongs to the extra `train`.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from feedmill.events.errors import UsageError
from feedmill.events.post import Media, Post
from feedmill.features.authorship import UNKNOWN_AUTHOR
from feedmill.features.media import IMAGE, LINK, MEDIA_KINDS, UNKNOWN, media_kind
from feedmill.models.artifact import Snapshot, sha256_of
from feedmill.models.store_files import Store, write_file
from feedmill.rankers.engagement import HEADS
from feedmill.rankers.impressions import Impressions
from feedmill.training.datasets.snapshots import name_of

_NUMBERS = ("version", "at_ms", "weight", "clicks", "impressions")
_OF_POSTS = ("post_id", "created_at_ms", "community", "text")
# Files from before do not have them: there the kind of media and the author are unknown.
_MEDIA, _AUTHOR = "media", "author"


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

    Raises
    ------
    UsageError
        It cannot be read, or a column is missing.
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
