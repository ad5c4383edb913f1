"""Loads a released model, and tries it in another process before a worker's own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from feedmill.events.errors import BadArtifact, FeedmillError
from feedmill.events.reasons import MAX_REASON_CHARACTERS
from feedmill.events.release import ModelRelease, TriedVersion
from feedmill.features.post_batch import PostBatch
from feedmill.filters import registry as filters
from feedmill.filters.model import STORE as FILTER_STORE
from feedmill.models.artifact import local_copy, read_card, store_with
from feedmill.models.store_files import Store
from feedmill.rankers import registry as rankers
from feedmill.rankers.spec import STORE as RANKER_STORE
from feedmill.streams.releases.known_answers import (
    SAMPLE_POSTS,
    AnyModel,
    answers_of,
    check_answers,
    values_by_text,
)
from feedmill.streams.releases.release_log import Released

MODELS = (*filters.FILTERS, *rankers.RANKERS)
# What a model may take in the trial.  The shipped ones take 20 to 40 microseconds a post.
MOST_MS_A_POST = 1.0
MOST_MEMORY = 3 * 1024**3
MOST_PROCESSOR_S = 30
MOST_S = 60.0
# Imports take most of a trial's processor time: they too run at the lower priority.
TRIAL_PROGRAM = f"import os; os.nice(10); from {__name__} import run_process; run_process()"
_BATCH = 252
_REPEATS = 10
_MOST_OUTPUT = 2000


class Trial(msgspec.Struct, frozen=True):
    """What a trial is to do: a model in a folder, and the known answers, if there are any yet."""

    model: str
    sha256: str
    store: str | None = None
    answers: tuple[float, ...] = ()


class TrialResult(msgspec.Struct, frozen=True):
    """What came of a trial: answers and milliseconds of processor a post, or why it is refused."""

    answers: tuple[float, ...] = ()
    ms_a_post: float = 0.0
    refusal: str = ""


def shipped_store(name: str) -> Path:
    """Return the store of the shipped models that has this one."""
    return FILTER_STORE if name in filters.FILTERS else RANKER_STORE


def shipped_sha256(name: str) -> str:
    """Return the version of a model that ships, which runs where none is released."""
    return read_card(shipped_store(name), name).sha256


def store_of(name: str, store: Store | None, sha256: str | None = None) -> Store:
    """Return the store that has a model, or its version: the given one, else that which ships."""
    return store_with(store, name, shipped_store(name), sha256)


def load_model(name: str, store: Store | None, sha256: str | None = None) -> AnyModel:
    """Load a model of a store by its sha256, or the one that the store's card names.

    Raises `BadArtifact`: it is missing or altered, is another model, or does not fit this build.
    """
    load = filters.load if name in filters.FILTERS else rankers.load
    return load(name, store, sha256)


def load_tried(name: str, store: Store | None, version: TriedVersion) -> tuple[AnyModel, float]:
    """Try a version in another process, load it, and warm it up; waits for all of it.

    Returns the model, and how many milliseconds of processor it took a post in the trial.

    Raises
    ------
    BadArtifact, UsageError
        The store does not give it, or the trial refuses it.
    """
    with local_copy(store_of(name, store, version.sha256), name, version.sha256) as folder:
        result = try_model(Trial(name, version.sha256, str(folder), version.answers))
        model = load_model(name, folder, version.sha256)
    # The first call is ten times as slow as the next; let no post wait for it.
    answers_of(model)
    return model, result.ms_a_post


def load_released(
    name: str, store: Store | None, current: str, version: Released[ModelRelease]
) -> AnyModel | None:
    """Load a release of a model, or what ships; None where it is the current version."""
    tried = version.release
    model = load_tried(name, store, tried)[0] if tried else load_model(name, None)
    return None if model.version == current else model


def failure_reason(error: Exception) -> str:
    """Return why something could not be loaded, in at most `MAX_REASON_CHARACTERS`."""
    text = str(error) if isinstance(error, FeedmillError) else repr(error)
    return text[:MAX_REASON_CHARACTERS]


def try_model(trial: Trial, most_s: float = MOST_S) -> TrialResult:
    """Try a model in a process of its own, under limits of time and memory; waits for it.

    Raises `BadArtifact`: the model fails the trial; the worker's own process has not touched the
    file.
    """
    label = f"model `{trial.model}@{trial.sha256[:12]}`"
    command = [sys.executable, "-c", TRIAL_PROGRAM]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command,
            input=msgspec.json.encode(trial),
            capture_output=True,
            timeout=most_s,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BadArtifact(
            f"{label}: the trial took longer than {most_s:.0f} s; release a faster model"
        ) from None
    if done.returncode == 0:
        result = msgspec.json.decode(done.stdout, type=TrialResult)
        if result.refusal:
            raise BadArtifact(result.refusal)
        return result
    last = done.stderr.decode("utf-8", "replace").strip()[-_MOST_OUTPUT:].rpartition("\n")[2]
    raise BadArtifact(
        f"{label}: the trial ended with {done.returncode} ({last or 'without a word'}); it took"
        f" more than {MOST_MEMORY >> 20} MiB or {MOST_PROCESSOR_S} s of processor, or the file"
        " breaks its reader; retrain"
    )


def run_trial(trial: Trial) -> TrialResult:
    """Do a trial in this process; what it refuses is in the result."""
    store = None if trial.store is None else Path(trial.store)
    try:
        model = load_model(trial.model, store, trial.sha256)
        if trial.answers:
            check_answers(model, trial.answers)
        answers = answers_of(model)
        ms_a_post = _ms_a_post(model)
    except FeedmillError as error:
        return TrialResult(refusal=str(error))
    if ms_a_post > MOST_MS_A_POST:
        return TrialResult(
            refusal=f"model `{trial.model}@{trial.sha256[:12]}`: it takes {ms_a_post:.2f} ms of"
            f" processor a post in a batch of {_BATCH}, expected at most {MOST_MS_A_POST:g};"
            " release a faster model"
        )
    return TrialResult(answers, ms_a_post)


def _ms_a_post(model: AnyModel) -> float:
    """Return the mean processor time of a post in a batch."""
    posts = SAMPLE_POSTS * (_BATCH // len(SAMPLE_POSTS))
    start = time.process_time()
    for _ in range(_REPEATS):
        values_by_text(model, PostBatch(posts))
    return (time.process_time() - start) * 1000 / (len(posts) * _REPEATS)


def run_process() -> None:
    """Do a trial as a process: a `Trial` as JSON on standard input, a `TrialResult` on output."""
    trial = msgspec.json.decode(sys.stdin.buffer.read(), type=Trial)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_PROCESSOR_S, MOST_PROCESSOR_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.buffer.write(msgspec.json.encode(run_trial(trial)))
