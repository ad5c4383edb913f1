"""A challenger starts when there are enough new labels, and not too often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from feedmill.events.label import Label
from feedmill.events.post import Post
from feedmill.filters.spam import FILTER
from feedmill.training.continual import learner as learner_module
from feedmill.training.continual.challenger import Verdict
from feedmill.training.continual.learner import MIN_FRESH, Learner
from feedmill.training.continual.starts import Starts
from feedmill.training.evaluation.label_simulation import judged, ordinary_posts
from feedmill.training.recipes import RECIPES

HOUR_MS = 3_600_000
Judged = list[tuple[Post, list[Label]]]


@pytest.fixture
def challenges(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many known and new rows each challenger got; none is better."""
    seen: list[tuple[int, int]] = []

    def challenge(
        _champion: Any, _recipe: Any, known: Any, fresh: Any, _ordinary: Any, _audit: Any
    ) -> Verdict:
        seen.append((len(known), len(fresh)))
        return Verdict("not better", 1, 1.0)

    monkeypatch.setattr(learner_module, "challenge", challenge)
    return seen


def learner_of(folder: Path, most: int = 2) -> Learner:
    starts = Starts(folder, "spam.starts", most)
    return Learner(FILTER.load(), RECIPES["spam"], ordinary_posts(10), starts)


def test_each_label_is_bet_on_once(tmp_path: Path, challenges: list[tuple[int, int]]) -> None:
    learner, champion, rows = learner_of(tmp_path), FILTER.load(), judged("wave", 1)
    few = learner.round(champion, rows[: MIN_FRESH - 1], 0)
    assert (few.verdict, few.fresh) == (None, MIN_FRESH - 1)
    assert few.reason == "fewer than 100 of them are new"
    assert learner.round(champion, rows[:MIN_FRESH], 1).reason == "not better"
    again = learner.round(champion, rows[:MIN_FRESH], 2)
    assert (again.fresh, len(again.rows)) == (0, MIN_FRESH)
    assert learner.round(champion, rows, 3).verdict is not None
    assert challenges == [(0, 100), (100, 100)]


def test_no_more_challengers_start_than_may(
    tmp_path: Path, challenges: list[tuple[int, int]]
) -> None:
    learner, champion, rows = learner_of(tmp_path, 1), FILTER.load(), judged("wave", 1)
    learner.round(champion, rows[:100], 0)
    refused = learner.round(champion, rows, HOUR_MS)
    assert refused.reason == "no start is left for 1380 minutes"
    # Its labels wait for the next start.
    assert learner.round(champion, rows, 24 * HOUR_MS).fresh == 100
    assert len(challenges) == 2


def test_the_audit_is_judged_by_and_never_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[str], list[str]]] = []

    def challenge(*arguments: Any) -> Verdict:
        *_, fresh, _, audit = arguments
        seen.append(([row.post.post_id for row in fresh], [row.post.post_id for row in audit]))
        return Verdict("not better", 1, 1.0)

    monkeypatch.setattr(learner_module, "challenge", challenge)
    rows: Judged = [
        (post, [msgspec.structs.replace(one, sampling_probability=0.1) for one in labels])
        if n < 30
        else (post, labels)
        for n, (post, labels) in enumerate(judged("wave", 1))
    ]
    found = learner_of(tmp_path).round(FILTER.load(), rows, 0)
    assert (found.audited, found.fresh) == (30, 170)
    ((fresh, audit),) = seen
    assert set(audit) == {f"p{n}" for n in range(30)}
    assert set(fresh) == {f"p{n}" for n in range(30, 200)}
