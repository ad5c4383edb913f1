from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from builders.training_data import WORDS
from feedmill.training.datasets.headline_tests import Arms
from feedmill.training.evaluation.effect_simulation import Planted, gains, page, simulate
from feedmill.training.fitting.linear_text import RidgePenalties
from feedmill.training.fitting.post_effects import EffectPenalties
from feedmill.training.ranker_recipes import ENGAGEMENT

RECIPE = replace(
    ENGAGEMENT,
    heads=tuple(replace(head, penalties=RidgePenalties(30.0)) for head in ENGAGEMENT.heads),
    trees=replace(ENGAGEMENT.trees, rounds=0),
    effects=EffectPenalties((np.inf, 30.0), (np.inf, 3.0)),
)


def arms(count: int) -> Arms:
    random = np.random.default_rng(1)
    texts = [" ".join(random.choice(WORDS, 8)) for _ in range(count)]
    impressions = np.full(count, 1_000)
    tests = [f"t{i // 4}" for i in range(count)]
    return Arms(texts, tests, impressions, np.full(count, 80), np.arange(count))


def test_what_is_planted_is_what_users_do() -> None:
    random = np.random.default_rng(2)
    rows = simulate(arms(400), Planted(0.0, 0.7), 50, random)
    hours = np.array([post.created_at_ms // 3_600_000 % 24 for post in rows.posts])
    of_rows = hours[rows.versions]
    clicked = rows.reacted("click")
    best = clicked[np.abs(of_rows - 18) <= 2].mean()
    worst = clicked[np.abs(of_rows - 6) <= 2].mean()
    assert 2.5 < best / worst < 5
    # What is known before an impression is what came of the earlier ones of its post.
    first = rows.versions == 3
    np.testing.assert_array_equal(rows.impressions[first], np.arange(50))
    np.testing.assert_array_equal(
        rows.clicks[first][1:], np.cumsum(clicked[first])[:-1].astype(float)
    )
    assert rows.at_ms[first][0] > rows.posts[3].created_at_ms


def test_planted_authors_are_learned_and_nothing_is_learned_of_nothing() -> None:
    some = arms(600)
    with_authors = gains(RECIPE, simulate(some, Planted(0.6, 0.0), 40, np.random.default_rng(3)))
    found = {one.what: one for one in with_authors}
    assert found["author"].known_authors.high < 0
    assert found["author"].new_authors.low <= 0 <= found["author"].new_authors.high + 5
    (apart,) = (one for name, one in found.items() if "partitions" in name)
    assert found["author"].known_authors.value < apart.known_authors.value
    without = gains(RECIPE, simulate(some, Planted(0.0, 0.0), 40, np.random.default_rng(3)))
    for one in without:
        assert abs(one.first_look.value) < abs(found["author"].first_look.value) / 4


def test_the_page_says_that_it_is_a_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "feedmill.training.evaluation.effect_simulation"
    monkeypatch.setattr(f"{module}.ENGAGEMENT", RECIPE)
    monkeypatch.setattr(f"{module}._SETTINGS", (Planted(0.5, 0.3),))
    monkeypatch.setattr(f"{module}._USERS", 20)
    text = page(arms(300))
    assert "simulation" in text.splitlines()[0]
    assert text.count("\n| 0.5, 0.3 |") == 4
