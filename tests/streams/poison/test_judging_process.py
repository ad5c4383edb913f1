"""A process that judges posts says what ended it, and is not taken in by who kills it."""

import json
import os
import signal
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.broken_model import poison_model
from builders.events import NOW_MS
from builders.records import StoredRecord
from feedmill.streams.kafka.batch_headers import BatchHeader, PassedBatch
from feedmill.streams.kafka.batches import Record
from feedmill.streams.poison import judging_process
from feedmill.streams.poison.judging_process import (
    CHUNK,
    CannotTryError,
    Ended,
    JudgingChild,
    JudgingRequest,
    JudgingTask,
    Limits,
    find_poison,
)
from feedmill.streams.releases.loading import shipped_sha256


def post(name: str, text: str) -> StoredRecord:
    fields = {"post_id": name, "author_id": "a", "created_at_ms": NOW_MS, "text": text}
    return StoredRecord(0, 0, name.encode(), json.dumps(fields).encode())


CALM = [post(f"p{i}", f"A walk along the river, part {i}") for i in range(3)]


def child(limits: Limits, sha256: str = "") -> JudgingChild:
    models = (("nsfw", sha256 or shipped_sha256("nsfw")),)
    return JudgingChild(lambda: JudgingTask(models, limits=limits))


PATIENT, HASTY, BRIEF = Limits(wall_s=30.0), Limits(processor_s=1, wall_s=30.0), Limits(wall_s=1.0)


@pytest.fixture
def poisonous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a filter that some texts end."""
    monkeypatch.setenv("PYTHONPATH", str(poison_model(tmp_path / "tree", "nsfw")))


@pytest.mark.usefixtures("poisonous")
@pytest.mark.parametrize(
    ("text", "limits", "reason"),
    [
        ("it never returns", HASTY, "it takes more than 1 s of processor"),
        ("it sleeps for ever", BRIEF, "it takes longer than 1 s"),
        ("it takes all memory", PATIENT, "it takes more than 1024 MiB"),
        ("it reads where nothing is", PATIENT, "it ends the process with SIGSEGV"),
        ("it leaves", PATIENT, "it ends the process with exit code 7"),
    ],
)
def test_each_end_is_told_by_its_place_and_reason(text: str, limits: Limits, reason: str) -> None:
    made = child(limits)
    assert made.judge([*CALM, post("bad", text), *CALM], singly=True) == Ended(3, reason)
    made.close()


@pytest.mark.usefixtures("poisonous")
def test_a_process_goes_on_where_nothing_ends_it_and_again_after_an_end() -> None:
    made = child(PATIENT)
    assert made.judge([*CALM, StoredRecord(), post("d", "")], singly=True) is None
    leaves = Ended(0, "it ends the process with exit code 7")
    assert made.judge([*CALM, post("bad", "it leaves")], singly=False) == leaves
    # A model that raises ends nothing.
    assert made.judge([post("raises", "it raises"), *CALM], singly=False) is None
    made.close()


@pytest.mark.usefixtures("poisonous")
def test_a_post_behind_a_batch_that_was_passed_is_found() -> None:
    passed = PassedBatch(BatchHeader(3, 40, 38, "zstd", 7_191, NOW_MS))
    made, bad = child(PATIENT), post("bad", "it leaves")
    found = made.judge([*CALM, StoredRecord(40, NOW_MS, None, passed), bad], singly=True)
    assert found == Ended(4, "it ends the process with exit code 7")
    made.close()


def test_kills_from_outside_are_no_ends_until_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, kills = child(PATIENT), 0
    original = judging_process._send

    def kill_at_first(pipe: Any, message: Any) -> None:
        nonlocal kills
        if isinstance(message, JudgingRequest) and kills < most and made._child is not None:
            kills += 1
            os.kill(made._child.process.pid, signal.SIGKILL)
        original(pipe, message)

    monkeypatch.setattr(judging_process, "_send", kill_at_first)
    most = 3
    assert made.judge(CALM, singly=True) is None
    assert kills == most
    monkeypatch.setattr(judging_process, "_MOST_KILLS", 2)
    kills, most = 0, 99
    with pytest.raises(CannotTryError, match="ended from outside"):
        made.judge(CALM, singly=True)
    made.close()


def test_models_that_are_not_there_are_no_reason_to_doubt_posts() -> None:
    with pytest.raises(CannotTryError, match="does not start"):
        child(PATIENT, "0" * 64).judge(CALM, singly=True)


def test_close_ends_who_waits() -> None:
    made = child(PATIENT)
    assert made.judge(CALM, singly=True) is None
    closing = threading.Timer(0.3, made.close)
    closing.start()
    start = time.monotonic()
    with pytest.raises(CannotTryError):
        while time.monotonic() < start + 30:
            made.judge([*CALM] * 50, singly=True)
    closing.join()


def poison_of(
    count: int, poison: set[int], ended_by_chance: Collection[int] = ()
) -> tuple[dict[int, str], int]:
    """Find the records that end whoever judges them, and count the calls; some calls end so."""
    calls = 0

    def judge(records: Sequence[Record], *, singly: bool) -> Ended | None:
        nonlocal calls
        calls += 1
        if calls in ended_by_chance:
            return Ended(0, "by chance")
        places = [i for i, one in enumerate(records) if one.offset in poison]
        return Ended(places[0] if singly else 0, f"{records[places[0]].offset}") if places else None

    records = [StoredRecord(offset) for offset in range(count)]
    return {one.record.offset: one.reason for one in find_poison(records, judge)}, calls


@given(st.sets(st.integers(0, 199), max_size=12), st.integers(0, 200))
def test_all_poison_is_found_and_nothing_else(poison: set[int], count: int) -> None:
    assert poison_of(count, poison)[0] == {at: f"{at}" for at in poison if at < count}


@pytest.mark.parametrize(
    ("count", "poison", "ended_by_chance", "calls"),
    [
        # What ends nothing is judged once and together.
        (10 * CHUNK, set(), (), 10),
        # A process that ends once by something else makes no poison.
        *((3 * CHUNK, set(), (at,), 4) for at in (1, 2, 3)),
        # Each by two ends, and what is behind the first two once more.
        (2 * CHUNK, {3, 4, CHUNK - 1}, (), 7),
    ],
)
def test_records_are_tried_no_more_often_than_needed(
    count: int, poison: set[int], ended_by_chance: Collection[int], calls: int
) -> None:
    found, called = poison_of(count, poison, ended_by_chance)
    assert (set(found), called) == (poison, calls)
