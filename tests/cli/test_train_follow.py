"""`feedmill train --follow` without Kafka: what it needs, and that a failed round is not its end.

`tests/e2e/faults/test_continual_learning.py` follows real topics.
"""

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from kafka.errors import KafkaConnectionError
from msgspec.structs import replace

from builders.label_simulation import LABELS, judged, ordinary_text
from feedmill.cli import train_follow
from feedmill.cli.main import main
from feedmill.events.decode import encode
from feedmill.events.errors import UsageError
from feedmill.events.settings import Settings
from feedmill.filters.model import STORE
from feedmill.streams.releases.loading import MODELS, shipped_sha256
from feedmill.streams.releases.release_log import FROZEN, RELEASED, HistoryRow, ReleaseFold
from feedmill.streams.settings.clock import now_ms
from feedmill.training.continual.challenger import ChallengeResult
from feedmill.training.continual.filter_contest import FilterContest
from feedmill.training.label_join import LabelWindow

DAY_MS = 86_400_000


def ordinary_file(folder: Path, count: int, at: str) -> Path:
    random = np.random.default_rng(8)
    path = folder / "ordinary.jsonl"
    lines = [json.dumps({"text": ordinary_text(random), "at": at}) for _ in range(count)]
    path.write_text("\n".join(lines))
    return path


def follow(path: Path, *, columns: str = ",time=at", as_json: bool = True) -> Result:
    words = ["train", "spam", "--follow", "--window", "1d", *(["--json"] if as_json else [])]
    return CliRunner().invoke(main, [*words, "--ordinary", f"{path}{columns}"])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEEDMILL_MODELS", str(tmp_path / "made"))
    monkeypatch.setenv("FEEDMILL_KAFKA", "127.0.0.1:1")
    return tmp_path


@pytest.mark.usefixtures("store")
def test_the_reference_is_older_than_the_window_and_large_enough(tmp_path: Path) -> None:
    few = follow(ordinary_file(tmp_path, 3000, "2020-01-01"))
    assert few.exit_code == 1
    assert "--follow needs 3,000 ordinary posts that are older than the window" in few.stderr
    young = follow(ordinary_file(tmp_path, 5200, "2100-01-01"))
    assert "found 0; name a larger file" in young.stderr


def test_it_needs_the_store_of_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEEDMILL_MODELS", raising=False)
    monkeypatch.setenv("FEEDMILL_KAFKA", "127.0.0.1:1")
    result = follow(ordinary_file(tmp_path, 10, "2020-01-01"))
    assert result.exit_code == 1
    assert "--follow needs FEEDMILL_MODELS" in result.stderr


@pytest.mark.usefixtures("store")
def test_a_round_that_fails_is_reported_and_the_next_one_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[BaseException] = [
        *(KafkaConnectionError("away"), UsageError("`spam` is frozen"), KeyboardInterrupt())
    ]

    class Window:
        def read(self) -> Any:
            raise failures.pop(0)

    @contextlib.contextmanager
    def open_window(*_: Any) -> Iterator[Window]:
        yield Window()

    monkeypatch.setattr(train_follow, "_open_window", open_window)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    result = follow(ordinary_file(tmp_path, 5200, "2020-01-01"))
    assert result.exit_code == 0
    assert failures == []
    rounds = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert [one["reason"] for one in rounds] == ["KafkaConnectionError: away", "`spam` is frozen"]


@pytest.mark.usefixtures("store")
def test_the_audit_judges_a_challenger_and_does_not_train_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = LabelWindow("spam", 7 * DAY_MS)
    for n, (post, labels) in enumerate(judged("wave", 1)):
        key, at_ms = post.post_id.encode(), now_ms() - DAY_MS + n
        window.add_post(key, encode(replace(post, created_at_ms=at_ms)), at_ms)
        for label in labels:
            probability = 0.1 if n < 30 else None
            one = replace(label, at_ms=at_ms, sampling_probability=probability)
            window.add_label(key, encode(one), at_ms)
    late = replace(label, source="late", at_ms=now_ms() + 2 * DAY_MS)
    window.add_label(key, encode(late), now_ms())
    windows = [window]
    tried: list[FilterContest] = []

    @contextlib.contextmanager
    def open_window(*_: Any) -> Iterator[Any]:
        yield SimpleNamespace(read=windows.pop)

    def challenge(contest: FilterContest) -> tuple[FilterContest, ChallengeResult[Any], str]:
        tried.append(contest)
        return contest, ChallengeResult("not better", 1, 1.0), ""

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_follow, "_open_window", open_window)
    monkeypatch.setattr(train_follow, "read_history", lambda _: ReleaseFold.of(MODELS, ()))
    monkeypatch.setattr(
        train_follow, "read_settings_log", lambda _: SimpleNamespace(settings=Settings())
    )
    monkeypatch.setattr(train_follow, "challenge_by_raters", challenge)
    monkeypatch.setattr(time, "sleep", interrupted)
    shutil.copytree(STORE, tmp_path / "made")
    (line,) = follow(ordinary_file(tmp_path, 5200, "2020-01-01")).stdout.splitlines()
    found = json.loads(line)
    assert found["reason"] == "not better"
    assert (found["audited"], found["labels"]) == (30, LABELS - 30)
    assert found["left_out"] == {"labels dated a day after their records": 1}
    (contest,) = tried
    assert {row.post.post_id for row in contest.audit} == {f"p{n}" for n in range(30)}
    assert [row.post.post_id for row in contest.records] == [f"p{n}" for n in range(30, LABELS)]


class History:
    """What was done to a model, as far as a round reads it."""

    def __init__(self, *rows: HistoryRow, candidate: Any = None) -> None:
        self._rows, self._candidate = rows, candidate

    def rows(self, _: str) -> tuple[HistoryRow, ...]:
        return self._rows

    def last_candidate(self, _: str) -> Any:
        return self._candidate


def waits(history: Any, labels: Any) -> str:
    return train_follow._waits_after(history, "spam", labels)


def changed_ms(*rows: HistoryRow) -> int:
    history: Any = History(*rows)
    return train_follow._changed_ms(history, "spam")


def row(offset: int, what: str, version: str) -> HistoryRow:
    return HistoryRow(offset, 1000 * offset, what, version, "", "")


def test_after_a_candidate_went_back_half_as_many_new_labels_are_awaited() -> None:
    history = History(
        row(3, "scores in shadow", "abc"),
        row(4, "candidate went back", "abc"),
        candidate=SimpleNamespace(offset=3, record=SimpleNamespace(version="abc")),
    )
    labels = [SimpleNamespace(at_ms=2_000)] * 100 + [SimpleNamespace(at_ms=3_000)] * 49
    assert waits(history, labels) == "abc went back, and 49 labels are new, expected 50"
    assert waits(history, [*labels, labels[-1]]) == ""
    assert waits(History(), labels) == ""


def test_evidence_begins_with_the_version_in_force_not_with_a_freeze() -> None:
    shipped = shipped_sha256("spam")[:12]
    rows = [row(1, RELEASED, "abc"), row(2, FROZEN, "abc"), row(3, RELEASED, "abc")]
    assert changed_ms(*rows) == 1_000
    assert changed_ms(*rows, row(5, RELEASED, "")) == 5_000
    assert changed_ms(row(1, FROZEN, shipped)) == 0


@pytest.mark.usefixtures("store")
def test_it_says_what_it_does_and_how_it_was_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def no_window(*_: Any) -> Iterator[Any]:
        yield SimpleNamespace(read=lambda: None)

    def one_round(*_: Any) -> dict[str, Any]:
        left_out = {"labels of unknown posts": 3, "labels that break the contract": 1}
        return {"labels": 5, "left_out": left_out, "reason": "too few raters"}

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_follow, "_open_window", no_window)
    monkeypatch.setattr(train_follow, "_label_round", one_round)
    monkeypatch.setattr(time, "sleep", interrupted)
    path = ordinary_file(tmp_path, 5200, "2020-01-01")
    done = follow(path, columns="", as_json=False)
    assert done.exit_code == 0
    reading, no_times, reference, follows, ended = done.stderr.splitlines()
    assert reading == f"reading the ordinary posts of {path}"
    assert "--ordinary says no times, so all its posts count as older" in no_times
    assert reference.endswith(" ordinary posts are the reference")
    assert re.match(r"spam follows `labels`: a round each 5 minutes, .* Ctrl-C ends it", follows)
    assert ended == "ended: what was released stays, and nothing else was changed"
    assert done.stdout.endswith(
        "spam: labels 5, left_out 3 labels of unknown posts; 1 labels that break the contract,"
        " reason too few raters\n"
    )
    assert "no times" not in follow(path).stderr
    # The store was not there.
    assert (tmp_path / "made").is_dir()
