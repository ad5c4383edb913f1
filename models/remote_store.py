"""A store of models in an object store: `s3://bucket/prefix`, through fsspec and s3fs.

Who may read and write it is said where every S3 client looks: the variables `AWS_…` and the files
of `~/.aws`.  An address holds no key, so messages can name it.  Needs the extra `s3`, which is
imported at the first call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from errno import EBUSY, EIO, ENOENT
from functools import cached_property
from typing import Any, TypeVar

from feedmill.events.errors import StoreAway, UsageError

SCHEME = "s3://"
_ADDRESS = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*/?")
# One try may take so long; s3fs tries five times where the server is busy or the connection broke.
_CLIENT = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}
_KEYS = "check the AWS_… variables of this process, and what its user may do there"
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class RemoteStore:
    """The files below a bucket's prefix; the same address is the same store.

    Every call waits for the server, at most some minutes.  Names are relative to the prefix;
    `store_files` has checked them.

    Raises
    ------
    UsageError
        Whatever keeps the server from doing it: what, where, and the way out; `StoreAway` where it
        did not answer.
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
                raise _refusal(content, path)
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
            raise _refusal(error, path) from None


def _refusal(error: Exception, path: str) -> UsageError:
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
