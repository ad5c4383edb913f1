from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.events import posts_of
from feedmill.events.errors import BadArtifact
from feedmill.filters.registry import FILTERS, load
from feedmill.filters.spec import STORE
from feedmill.models.artifact import Card, read_card

# Written for this test; none comes from a data set.
SPAM = [
    "WINNER!! You have been selected for a £1000 cash prize! Call 09061701461 now to claim",
    "Check out my new channel and subscribe!!! http://www.example.com/watch?v=abc please share",
    "FREE entry in our weekly draw, text WIN to 80086 now! T&C apply, 150p/msg",
]
FINE = [
    "We walked along the river this morning and saw a heron.",
    "Does anybody know a good book about the history of bridges?",
    "The library opens at nine tomorrow",
    "My sister made soup for all of us yesterday",
    "We sold 12000 tickets in a week, from 20 towns",
    "Fresh bread from 199 bakers at 39601 doors",
]
EDGE = [
    "",
    " ",
    "\0",
    "a",
    "ok",
    "😀" * 50,
    "x" * 20_000,
    "ЯЩЖ " * 500,
    "né\u0301e",
    "日本語のテキスト",
]


@pytest.mark.parametrize("name", FILTERS)
def test_scores_are_probabilities_of_each_row_alone(name: str) -> None:
    model = load(name)
    many = posts_of([*SPAM, *FINE, *EDGE])
    scores = model.score_many(many)
    assert scores.shape == (len(many),)
    assert scores.dtype == np.float64
    assert ((scores >= 0) & (scores <= 1)).all()
    alone = np.concatenate([model.score_many([post]) for post in many])
    np.testing.assert_array_equal(scores, alone)
    np.testing.assert_array_equal(scores[::-1], model.score_many(many[::-1]))
    assert model.score_many([]).shape == (0,)


@settings(max_examples=60)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=9), st.integers(1, 8))
def test_any_text_scores_the_same_however_it_is_batched(texts: list[str], size: int) -> None:
    model = load("spam")
    whole = model.score_many(posts_of(texts))
    parts = [
        model.score_many(posts_of(texts[begin : begin + size]))
        for begin in range(0, len(texts), size)
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_obvious_spam_is_demoted_and_ordinary_sentences_are_not() -> None:
    model = load("spam")
    assert model.score_many(posts_of(SPAM)).min() >= 0.6
    assert model.score_many(posts_of(FINE)).max() < 0.6


@pytest.mark.parametrize("name", FILTERS)
def test_nothing_ordinary_is_demoted(name: str) -> None:
    scores = load(name).score_many(posts_of([*FINE, "", "ok", "Thanks!", "Good morning"]))
    assert scores.max() < 0.6


def test_misinformation_never_hides_by_itself() -> None:
    shouting = ["BREAKING: the vaccine kills, the virus is a hoax, drink bleach to cure covid"]
    assert load("misinformation").score_many(posts_of([*shouting, *SPAM, *EDGE])).max() < 0.9


@pytest.mark.parametrize("name", FILTERS)
def test_name_and_version_are_the_cards(name: str) -> None:
    model, card = load(name), read_card(STORE, name)
    assert model.name == name
    assert model.version == card.sha256[:12]
    assert card.data and card.metrics and card.weaknesses
    assert not any("liar" in use.file or "mind" in use.file for use in card.data)


def test_the_cards_hold_what_the_thresholds_promise() -> None:
    for source in ("reddit", "facebook", "hackernews", "bluesky"):
        cards = [read_card(STORE, name).metrics for name in FILTERS]
        assert sum(card[f"{source}.hidden"] for card in cards) <= 0.03


def copied(tmp_path: Path, name: str) -> tuple[Path, Card]:
    card = read_card(STORE, name)
    for file in (f"{name}.json", f"{card.sha256}.npz"):
        shutil.copy(STORE / file, tmp_path / file)
    return tmp_path, card


def test_an_altered_artifact_is_refused(tmp_path: Path) -> None:
    store, card = copied(tmp_path, "spam")
    path = store / f"{card.sha256}.npz"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadArtifact, match=rf"model `spam@{card.version}`.*altered"):
        load("spam", store)


def test_an_altered_card_is_refused(tmp_path: Path) -> None:
    store, card = copied(tmp_path, "spam")
    other = msgspec.structs.replace(card, sha256="0" * 64)
    (store / "spam.json").write_bytes(msgspec.json.encode(other))
    with pytest.raises(BadArtifact, match="no artifact"):
        load("spam", store)


def test_an_unknown_filter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArtifact, match="there are: spam, nsfw, misinformation"):
        load("../spam", tmp_path)


def test_loading_brings_no_training_library() -> None:
    code = (
        "import sys; from feedmill.filters.registry import load; load('spam');"
        "print([m for m in ('lightgbm', 'sklearn', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
