"""What the thread brings of a release, or why there is none."""

from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from builders.model_store import add_version, shipped_store
from builders.s3_server import set_keys
from feedmill.events.errors import BadArtifact
from feedmill.events.reasons import MAX_REASON_CHARACTERS
from feedmill.events.release import ModelRelease
from feedmill.filters.model import STORE
from feedmill.models.artifact import find_card, read_card, save_artifact
from feedmill.models.store_files import RemoteStore, write_file
from feedmill.streams.releases.known_answers import answers_of
from feedmill.streams.releases.loading import failure_reason, load_model, load_released
from feedmill.streams.releases.newest_releases import load_newest
from feedmill.streams.releases.release_log import Released


def test_the_reason_of_a_failure_is_short_and_names_errors_that_are_not_feedmills() -> None:
    assert failure_reason(BadArtifact("it was altered")) == "it was altered"
    assert failure_reason(ValueError("no number")) == "ValueError('no number')"
    assert len(failure_reason(ValueError("x" * 5000))) == MAX_REASON_CHARACTERS


def test_a_release_is_fetched_from_an_s3_store_and_tried(
    tmp_path: Path, s3_store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shipped_store(tmp_path / "folder")
    sha256 = add_version(folder, "spam")
    content = (folder / f"{sha256}.npz").read_bytes()
    save_artifact(s3_store, find_card(folder, "spam", sha256), content)
    known = answers_of(load_model("spam", folder, sha256))
    release = Released(7, ModelRelease(sha256, known, "ann", ""))
    old = read_card(STORE, "spam").version

    loaded = load_newest(partial(load_released, "spam", s3_store, old), [release])
    assert loaded.content is not None
    assert (cast(Any, loaded.content).version, loaded.version) == (sha256[:12], release)

    # The newest is altered on its way: the one before it runs.
    broken = Released(8, ModelRelease("ab" * 32, known, "ann", ""))
    write_file(s3_store, f"{'ab' * 32}.npz", content[:-1])
    load = partial(load_released, "spam", s3_store, sha256[:12])
    loaded = load_newest(load, [broken, release])
    assert (loaded.content, loaded.version) == (None, release)
    assert [(one.offset, "was altered" in reason) for one, reason in loaded.refusals] == [(8, True)]

    set_keys(monkeypatch, "http://127.0.0.1:1")
    away = RemoteStore(s3_store.address)
    loaded = load_newest(partial(load_released, "spam", away, old), [release])
    assert (loaded.content, loaded.version, loaded.refusals) == (None, None, [])
    assert "the server is not reachable" in loaded.away
