"""What the thread of a worker brings of a release: a model, or why there is none."""

from pathlib import Path

import pytest

from builders.model_store import add_version, shipped_store
from builders.s3_server import set_keys
from feedmill.events.release import ModelRelease
from feedmill.filters.spec import STORE
from feedmill.models.artifact import read_card, save_artifact
from feedmill.models.remote_store import RemoteStore
from feedmill.models.store import find_card
from feedmill.models.store_files import write_file
from feedmill.streams.releases.background_loads import load_newest
from feedmill.streams.releases.known_answers import answers_of
from feedmill.streams.releases.loading import load_model
from feedmill.streams.releases.release_log import ReleasedVersion


def test_a_release_is_fetched_from_an_s3_store_and_tried(
    tmp_path: Path, s3_store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shipped_store(tmp_path / "folder")
    sha256 = add_version(folder, "spam")
    content = (folder / f"{sha256}.npz").read_bytes()
    save_artifact(s3_store, find_card(folder, "spam", sha256), content)
    known = answers_of(load_model("spam", folder, sha256))
    release = ReleasedVersion(7, ModelRelease(sha256, known, "ann", ""))
    old = read_card(STORE, "spam").version

    loaded = load_newest("spam", s3_store, [release], old)
    assert loaded.model is not None
    assert (loaded.model.version, loaded.version) == (sha256[:12], release)

    # The newest is altered on its way: the one before it runs.
    broken = ReleasedVersion(8, ModelRelease("ab" * 32, known, "ann", ""))
    write_file(s3_store, f"{'ab' * 32}.npz", content[:-1])
    loaded = load_newest("spam", s3_store, [broken, release], sha256[:12])
    assert (loaded.model, loaded.version) == (None, release)
    assert [(one.offset, "was altered" in reason) for one, reason in loaded.refusals] == [(8, True)]

    set_keys(monkeypatch, "http://127.0.0.1:1")
    away = RemoteStore(s3_store.address)
    loaded = load_newest("spam", away, [release], old)
    assert (loaded.model, loaded.version, loaded.refusals) == (None, None, [])
    assert "the server is not reachable" in loaded.away
