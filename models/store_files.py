"""The files of a model store, which is a folder or an address `s3://bucket/prefix`.

All that feedmill reads or writes in a store goes through these functions.  A name is a file's own
name, or that of one below `snapshots/`: nothing outside the store can be named.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from feedmill.events.errors import BadArtifact, UsageError
from feedmill.models.remote_store import RemoteStore

Store = Path | RemoteStore

# Models take a few megabytes, cards a few kilobytes.
MOST_BYTES = 64 * 1024 * 1024
_NAME = re.compile(r"(snapshots/)?[A-Za-z0-9_][A-Za-z0-9._@-]*")


def parse_store(text: str) -> Store:
    """Return the store of an address: a folder, which need not be there, or `s3://…`.

    Raises
    ------
    UsageError
        The address has a scheme and is none of S3, or holds a password.
    """
    if "://" in text:
        return RemoteStore.parse(text)
    return Path(text)


def read_file(store: Store, name: str, most_bytes: int = MOST_BYTES) -> bytes:
    """Return a file's content.

    Raises
    ------
    OSError
        It cannot be read; `FileNotFoundError` where it is not there.
    UsageError
        It has more than `most_bytes`, or the server of the store does not give it.
    """
    _check(name)
    if isinstance(store, RemoteStore):
        content = store.read(name, most_bytes)
    else:
        with (store / name).open("rb") as file:
            content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise UsageError(
            f"{place_of(store, name)}: it has more than {most_bytes:,} bytes, which is no file of"
            " this kind; remove it, or restore the right one"
        )
    return content


def has_file(store: Store, name: str) -> bool:
    """Return whether a store has a file; raises `UsageError` where its server does not tell."""
    _check(name)
    return store.has(name) if isinstance(store, RemoteStore) else (store / name).is_file()


def read_hashed(
    store: Store, sha256: str, label: str, *, if_missing: str, if_altered: str
) -> bytes:
    """Read the bytes of the artifact `<sha256>.npz`, and check their sha256.

    `label` names it in errors, and the last two say there what to do.

    Raises
    ------
    BadArtifact
        It is missing or altered.
    UsageError
        It is too large, or the store cannot be read.
    """
    file = f"{sha256}.npz"
    place = place_of(store, file)
    try:
        content = read_file(store, file)
    except OSError as error:
        raise BadArtifact(
            f"{label}: no artifact at {place} ({error.strerror}); {if_missing}"
        ) from error
    if (actual := hashlib.sha256(content).hexdigest()) != sha256:
        raise BadArtifact(
            f"{label}: {place} was altered (its sha256 is {actual[:12]}…, expected {sha256[:12]}…);"
            f" {if_altered}"
        )
    return content


def read_files(store: Store, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """Return the content of some files that `file_sizes` names; left out is what is too large.

    So is what is gone by now, or cannot be read.

    Raises
    ------
    UsageError
        The server of the store does not give them.
    """
    wanted = [name for name, size in sizes.items() if size <= MOST_BYTES]
    if isinstance(store, RemoteStore):
        return store.read_many(wanted)
    found = {}
    for name in wanted:
        try:
            found[name] = read_file(store, name)
        except OSError:
            continue
    return found


def file_sizes(store: Store, folder: str = "") -> dict[str, int]:
    """Return the sizes in bytes of the files right in the store, or in `folder`, by name.

    Raises
    ------
    UsageError
        The server of the store does not tell.
    """
    if folder:
        _check(folder)
    if isinstance(store, RemoteStore):
        return store.sizes(folder)
    found = sorted((store / folder).glob("*"))
    return {path.name: path.stat().st_size for path in found if path.is_file()}


def write_file(store: Store, name: str, content: bytes) -> None:
    """Write a file whole, and the folder before it: a reader sees all of it or what was there.

    Raises
    ------
    OSError, UsageError
        It cannot be written.
    """
    _check(name)
    if isinstance(store, RemoteStore):
        store.write(name, content)
        return
    path = store / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)


def remove_file(store: Store, name: str) -> None:
    """Remove a file, if it is there; raises `OSError` or `UsageError` where it cannot."""
    _check(name)
    if isinstance(store, RemoteStore):
        store.remove(name)
    else:
        (store / name).unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under its name when all of it is on the disk: a reader sees all or nothing."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


def place_of(store: Store, name: str) -> str:
    """Return how messages name a file of a store."""
    return f"{store}/{name}"


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name[:80]!r}: no file of a store has such a name")
