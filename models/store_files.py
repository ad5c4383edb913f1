"""The files of a model store, which is a folder or an address `s3://bucket/prefix`.

All that feedmill reads or writes in a store goes through these functions.  A name is a file's own
name, or that of one below `snapshots/`: nothing outside the store can be named.

A `RemoteStore` is a store in an object store, through fsspec and s3fs.  Who may read and write it
is said where every S3 client looks: the variables `AWS_…` and the files of `~/.aws`.  An address
holds no key, so messages can name it.  Needs the extra `s3`, which is imported at the first call.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from errno import EBUSY, EIO, ENOENT
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from feedmill.events.errors import BadArtifact, StoreAway, UsageError

SCHEME = "s3://"
_ADDRESS = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*/?")
# One try may take so long; s3fs tries five times where the server is busy or the connection broke.
_CLIENT = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}
_KEYS = "check the AWS_… variables of this process, and what its user may do there"
_Answer = TypeVar("_Answer")

# Models take a few megabytes, cards a few kilobytes.
MOST_BYTES = 64 * 1024 * 1024
_NAME = re.compile(r"(snapshots/)?[A-Za-z0-9_][A-Za-z0-9._@-]*")


@dataclass(frozen=True)
class RemoteStore:
    """The files below a bucket's prefix; the same address is the same store.

    Every call waits for the server, at most some minutes.  Names are relative to the prefix;
    `store_files` has checked them.

    Raises `UsageError`: whatever keeps the server from doing it: what, where, and the way out;
    `StoreAway` where it did not answer.
    """

    address: str

    @classmethod
    def parse(cls, text: str) -> RemoteStore:
        """Check an address; raises `UsageError`, without what may be a password."""
        if not _ADDRESS.fullmatch(text):
            scheme, separator, rest = text.rpartition("://")
            shown = scheme + separator + rest.rpartition("@")[2].partition("?")[0]
            raise UsageError(
                f"expected s3://bucket or s3://bucket/prefix, got {shown!r}; keys belong into the"
                " AWS_… variables, another server's address into AWS_ENDPOINT_URL"
            )
        return cls(text.rstrip("/"))

    def __str__(self) -> str:
        return self.address

    def read(self, name: str, most_bytes: int) -> bytes:
        """Return a file, at most one byte more than `most_bytes`; raises `FileNotFoundError`."""
        path = self._path(name)

        def read() -> bytes:
            size = self._files.info(path)["size"]
            # No server answers a range of an empty file.
            end = most_bytes + 1
            return bytes(self._files.cat_file(path, start=0, end=end)) if size else b""

        return self._asked(read, path)

    def read_many(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return files, several at a time; one that is gone is left out."""
        paths = {self._path(name): name for name in names}
        if not paths:
            return {}
        found: Mapping[str, Any] = self._asked(
            lambda: self._files.cat(list(paths), on_error="return"), self.address
        )
        for path, content in found.items():
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                raise _server_refusal(content, path)
        return {paths[path]: text for path, text in found.items() if isinstance(text, bytes)}

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        path = self._path(name)
        try:
            self._asked(lambda: self._files.info(path), path)
        except FileNotFoundError:
            return False
        return True

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the sizes of the files right in a folder, "" for the store's own, by name."""
        path = self._path(folder) if folder else self.address.removeprefix(SCHEME)

        def sizes() -> dict[str, int]:
            entries = self._files.ls(path, detail=True)
            files = [entry for entry in entries if entry["type"] == "file"]
            return {entry["name"].rpartition("/")[2]: int(entry["size"]) for entry in files}

        try:
            return self._asked(sizes, path)
        except FileNotFoundError:
            return {}

    def write(self, name: str, content: bytes) -> None:
        """Write a file; whoever reads it sees all of it or what was there before."""
        path = self._path(name)
        self._asked(lambda: self._files.pipe_file(path, content), path)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        path = self._path(name)
        self._asked(lambda: self._files.rm_file(path), path)

    def _path(self, name: str) -> str:
        return f"{self.address.removeprefix(SCHEME)}/{name}"

    @cached_property
    def _files(self) -> Any:
        try:
            from s3fs import S3FileSystem  # noqa: PLC0415 the `s3` extra; a third of a second
        except ImportError as error:
            raise UsageError(
                f"{self.address}: such a store needs s3fs: pip install 'feedmill[s3]'"
            ) from error
        # Other processes write to the store, so nothing that was listed may be kept.
        return S3FileSystem(
            config_kwargs=_CLIENT, use_listings_cache=False, skip_instance_cache=True
        )

    def _asked(self, call: Callable[[], _Answer], path: str) -> _Answer:
        """Return what a call returns; a missing file stays `FileNotFoundError`."""
        try:
            return call()
        except UsageError:
            raise
        except FileNotFoundError as error:
            if type(error.__cause__).__name__ == "NoSuchBucket":
                raise UsageError(
                    f"{self.address}: there is no such bucket; make it, or correct the address"
                ) from None
            raise FileNotFoundError(ENOENT, "No such file", f"{SCHEME}{path}") from None
        except Exception as error:  # noqa: BLE001 - s3fs, botocore and aiohttp have no common one
            raise _server_refusal(error, path) from None


def _server_refusal(error: Exception, path: str) -> UsageError:
    """Say what happened in words of our own: the client's may hold parts of the request."""
    where, name = f"{SCHEME}{path.removeprefix(SCHEME)}", type(error).__name__
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, PermissionError):
        return UsageError(f"{where}: the server denies it; {_KEYS}")
    if "Credential" in name:
        return UsageError(f"{where}: there are no keys ({name}); {_KEYS}")
    if kinds & {"ConnectionError", "HTTPClientError", "TimeoutError"}:
        return StoreAway(
            f"{where}: the server is not reachable ({name}); start it, or correct AWS_ENDPOINT_URL"
            " or the region"
        )
    if isinstance(error, OSError) and error.errno in (EBUSY, EIO):
        # s3fs gives these numbers to answers such as 503.
        return StoreAway(f"{where}: the server is too busy or broken ({name}); ask it again later")
    return UsageError(f"{where}: the server refuses it ({name}); {_KEYS}")


Store = Path | RemoteStore


def parse_store(text: str) -> Store:
    """Return the store of an address: a folder, which need not be there, or `s3://…`.

    Raises `UsageError`: the address has a scheme and is none of S3, or holds a password.
    """
    if "://" in text:
        return RemoteStore.parse(text)
    return Path(text)


def read_file(store: Store, name: str, most_bytes: int = MOST_BYTES) -> bytes:
    """Return a file's content.

    Raises `OSError`: it cannot be read; `FileNotFoundError` where it is not there; `UsageError`: it
    has more than `most_bytes`, or the server of the store does not give it.
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

    Raises `BadArtifact`: it is missing or altered; `UsageError`: it is too large, or the store
    cannot be read.
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

    Raises `UsageError`: the server of the store does not give them.
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

    Raises `UsageError`: the server of the store does not tell.
    """
    if folder:
        _check(folder)
    if isinstance(store, RemoteStore):
        return store.sizes(folder)
    found = sorted((store / folder).glob("*"))
    return {path.name: path.stat().st_size for path in found if path.is_file()}


def write_file(store: Store, name: str, content: bytes) -> None:
    """Write a file whole, and the folder before it: a reader sees all of it or what was there.

    Raises `OSError` or `UsageError`: it cannot be written.
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


def is_file_name(name: str) -> bool:
    """Return whether a file of a store may have this name."""
    return _NAME.fullmatch(name) is not None


def _check(name: str) -> None:
    if not is_file_name(name):
        raise UsageError(f"{name[:80]!r}: no file of a store has such a name")
