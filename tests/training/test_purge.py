"""Deleted posts leave the snapshots of a store, and the cards say how many rows went."""

from pathlib import Path

import pytest

from builders.events import posts_of
from feedmill.events.errors import UsageError
from feedmill.models.artifact import DataUse, ModelCard, Purge, read_card, save_artifact, sha256_of
from feedmill.models.store_files import RemoteStore, Store, file_sizes, read_file
from feedmill.training import purge as purge_module
from feedmill.training.datasets.labelled_posts import from_posts
from feedmill.training.datasets.snapshots import SnapshotSource, save_snapshot
from feedmill.training.purge import deleted_posts, purge

DAY = "2026-11-26"


def fill(store: Store) -> ModelCard:
    """Put three models into a store: the first two learned from one data set."""
    uses = []
    for file in ("mail.csv", "other.csv"):
        posts = posts_of([f"{file} text {letter}" for letter in "abcdef"])
        rows = from_posts(file, file, [(post, 0.0, post.post_id) for post in posts])
        kept = save_snapshot(store, rows, SnapshotSource(file, "1" * 64, "made up", file))
        uses.append(DataUse(file, 6, "made up", "labelled", snapshot=kept))
    assert len({use.snapshot for use in uses}) == 2
    first: ModelCard | None = None
    for name, data in (("spam", uses[:1]), ("nsfw", uses), ("plain", [])):
        content = name.encode()
        card = ModelCard(name, sha256_of(content), DAY, "", 1, data, {}, [], "")
        save_artifact(store, card, content)
        first = first or card
    assert first is not None
    return first


def texts_of(store: Store) -> bytes:
    files = [read_file(store, f"snapshots/{name}") for name in file_sizes(store, "snapshots")]
    return b"".join(files)


@pytest.mark.parametrize("kind", ["a folder", "s3"])
def test_a_purged_post_is_in_no_file_and_the_cards_say_so(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store: RemoteStore | Path = (
        tmp_path if kind == "a folder" else request.getfixturevalue("s3_store")
    )
    fill(store)
    (one, two) = (posts_of(["a", "b"])[n].post_id for n in range(2))
    found = purge(store, {one, two, "never seen"}, DAY)
    assert [len(one.cards) for one in sorted(found, key=lambda one: len(one.cards))] == [1, 2]
    spam, nsfw = read_card(store, "spam"), read_card(store, "nsfw")
    assert spam.data[0] == nsfw.data[0]
    for use in nsfw.data:
        assert use.snapshot is not None
        assert (use.rows, use.snapshot.rows, use.snapshot.purged) == (6, 4, (Purge(DAY, 2),))
    assert file_sizes(store, "snapshots").keys() == {
        f"{use.snapshot.sha256}.parquet" for use in nsfw.data if use.snapshot
    }
    assert read_file(store, f"{spam.sha256}.npz") == b"spam"
    assert read_card(store, "plain").data == []
    assert purge(store, {one, two}, DAY) == []


def test_posts_purged_one_by_one_give_what_they_give_together(tmp_path: Path) -> None:
    ids = [post.post_id for post in posts_of(["a", "b"])]
    for store in (tmp_path / "one", tmp_path / "both"):
        fill(store)
    purge(tmp_path / "both", {*ids}, DAY)
    for post_id in ids:
        purge(tmp_path / "one", {post_id}, DAY)
    assert texts_of(tmp_path / "one") == texts_of(tmp_path / "both")
    snapshot = read_card(tmp_path / "one", "spam").data[0].snapshot
    assert snapshot is not None
    assert snapshot.purged == (Purge(DAY, 1), Purge(DAY, 1))


@pytest.mark.parametrize("step", ["write_file", "remove_file"])
def test_what_a_crash_leaves_the_next_purge_completes(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {posts_of(["a"])[0].post_id}
    for store in (tmp_path / "crashed", tmp_path / "whole"):
        fill(store)
    purge(tmp_path / "whole", ids, DAY)
    calls = []

    def fail_second(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError("the machine is gone")
        original(*arguments)

    original = getattr(purge_module, step)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="is gone"):
        patch.setattr(purge_module, step, fail_second)
        purge(tmp_path / "crashed", ids, DAY)
    purge(tmp_path / "crashed", ids, DAY)
    assert texts_of(tmp_path / "crashed") == texts_of(tmp_path / "whole")
    for name in ("spam", "nsfw"):
        assert read_card(tmp_path / "crashed", name) == read_card(tmp_path / "whole", name)


def test_an_altered_snapshot_is_not_rewritten(tmp_path: Path) -> None:
    fill(tmp_path)
    name = next(iter(file_sizes(tmp_path, "snapshots")))
    (tmp_path / "snapshots" / name).write_bytes(b"something else")
    with pytest.raises(UsageError, match="was altered"):
        purge(tmp_path, {"p"}, DAY)


def test_a_post_that_came_again_after_its_deletion_is_not_deleted() -> None:
    def post(post_id: str) -> bytes:
        fields = f'"post_id":"{post_id}","author_id":"ann","created_at_ms":1700000000001,"text":"x"'
        return f"{{{fields}}}".encode()

    records = [
        (b"p1", post("p1")),
        (b"p1", None),
        (b"p2", None),
        (b"p2", post("p2")),
        (b"p3", b'{"post_id":"p3","deleted":true}'),
        (b"p4", b"{"),
    ]
    assert deleted_posts(records) == {"p1", "p3"}
