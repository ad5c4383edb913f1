"""Trials of models in a process of their own: what passes, and what is refused why."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from builders.model_store import add_content, add_version, shipped_store
from feedmill.events.errors import BadArtifact
from feedmill.models.artifact import read_card
from feedmill.streams.releases import loading
from feedmill.streams.releases.loading import Trial, run_trial, try_model


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return shipped_store(tmp_path / "store")


def test_a_sound_version_passes_with_its_answers(store: Path) -> None:
    sha256 = add_version(store, "spam")
    result = try_model(Trial("spam", sha256, str(store)))
    assert len(result.answers) == 9
    assert 0 < result.ms_a_post < 1
    again = try_model(Trial("spam", sha256, str(store), result.answers))
    assert again.answers == result.answers


def test_a_trial_has_a_lower_priority_before_it_imports_anything(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first import of the trial ends it and says what the priority is.
    (store / "msgspec.py").write_text("import os; raise SystemExit(f'nice {os.nice(0)}')")
    monkeypatch.setenv("PYTHONPATH", str(store))
    with pytest.raises(BadArtifact, match=f"nice {min(os.nice(0) + 10, 19)}"):
        try_model(Trial("spam", "0" * 64, str(store)))


def with_code() -> bytes:
    """An archive with an array of objects, which only a pickle can hold."""
    file, member = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array(member, np.array([print], dtype=object), allow_pickle=True)
    assert pickle.PROTO in member.getvalue()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("meta.npy", member.getvalue())
    return file.getvalue()


def test_an_unfit_artifact_is_refused_with_its_reason(store: Path) -> None:
    sha256 = add_content(store, read_card(store, "spam"), with_code())
    with pytest.raises(BadArtifact, match="not an artifact"):
        try_model(Trial("spam", sha256, str(store)))


def test_a_model_that_is_too_slow_is_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "MOST_MS_A_POST", 1e-6)
    result = run_trial(Trial("spam", add_version(store, "spam"), str(store)))
    assert "ms of processor a post in a batch of 252, expected at most 1e-06" in result.refusal


def test_a_trial_without_an_end_is_ended(store: Path) -> None:
    with pytest.raises(BadArtifact, match="took longer than 0 s"):
        try_model(Trial("spam", add_version(store, "spam"), str(store)), most_s=0.01)


def test_a_trial_that_breaks_down_is_refused_and_this_process_goes_on(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where the interpreter itself cannot start, as where memory runs out.
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with pytest.raises(BadArtifact, match="the trial ended with 1"):
        try_model(Trial("spam", add_version(store, "spam"), str(store)))
