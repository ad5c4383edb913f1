"""What holds of the files of every store: a folder, and one on an S3 server."""

from pathlib import Path

import pytest

from feedmill.events.errors import UsageError
from feedmill.models.store_files import (
    RemoteStore,
    Store,
    file_sizes,
    parse_store,
    read_file,
    read_files,
    remove_file,
    write_file,
)


@pytest.fixture(params=["a folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "a folder":
        return tmp_path / "store"
    found: RemoteStore = request.getfixturevalue("s3_store")
    return found


def test_a_file_is_read_as_it_was_written_last(store: Store) -> None:
    write_file(store, "spam.json", b"old")
    write_file(store, "spam.json", b"new")
    write_file(store, "snapshots/a.parquet", b"rows")
    write_file(store, "empty.json", b"")
    assert read_file(store, "spam.json") == b"new"
    assert read_file(store, "snapshots/a.parquet") == b"rows"
    assert read_file(store, "empty.json") == b""
    assert file_sizes(store) == {"spam.json": 3, "empty.json": 0}
    assert file_sizes(store, "snapshots") == {"a.parquet": 4}
    assert read_files(store, {"spam.json": 3, "gone.json": 1}) == {"spam.json": b"new"}


def test_a_missing_file_is_not_found_and_a_removed_one_no_more(store: Store) -> None:
    assert file_sizes(store) == {}
    assert read_files(store, {}) == {}
    write_file(store, "a.json", b"1")
    remove_file(store, "a.json")
    remove_file(store, "a.json")
    with pytest.raises(FileNotFoundError) as error:
        read_file(store, "a.json")
    assert error.value.strerror is not None


def test_a_file_that_is_too_large_is_not_read(store: Store) -> None:
    write_file(store, "a.json", b"12345")
    assert read_file(store, "a.json", 5) == b"12345"
    with pytest.raises(UsageError, match=r"a\.json: it has more than 4 bytes"):
        read_file(store, "a.json", 4)


@pytest.mark.parametrize(
    "name",
    ["", "..", "../a", "/etc/passwd", "a/b", "snapshots/../a", "snapshots/", ".hidden", "a\n"],
)
def test_nothing_outside_the_store_has_a_name(tmp_path: Path, name: str) -> None:
    for store in (tmp_path, RemoteStore("s3://bucket/a")):
        for call in (read_file, remove_file):
            with pytest.raises(UsageError, match="no file of a store has such a name"):
                call(store, name)
        with pytest.raises(UsageError, match="no file of a store has such a name"):
            write_file(store, name, b"")


def test_an_address_is_a_folder_or_one_of_s3() -> None:
    assert parse_store("models/here") == Path("models/here")
    assert parse_store("s3://bucket/a/b/") == RemoteStore("s3://bucket/a/b")
