from __future__ import annotations

from pathlib import Path

import pytest

from feedmill.filters.registry import FILTERS
from feedmill.filters.spec import STORE as FILTER_STORE
from feedmill.models.artifact import read_card
from feedmill.models.cards import card_lines, card_page
from feedmill.rankers.registry import RANKERS
from feedmill.rankers.spec import STORE as RANKER_STORE

DOCS = Path(__file__).parents[2] / "docs"
CARDS = [(FILTER_STORE, name) for name in FILTERS] + [(RANKER_STORE, name) for name in RANKERS]


@pytest.mark.parametrize("name", RANKERS)
def test_the_page_says_what_the_card_says(name: str) -> None:
    page = (DOCS / "models" / f"{name}.md").read_text(encoding="utf-8")
    # python -m feedmill.models.cards rankers/artifacts --out docs/models
    assert page == card_page(read_card(RANKER_STORE, name))


@pytest.mark.parametrize("name", FILTERS)
def test_the_page_of_the_filters_is_of_these_artifacts(name: str) -> None:
    page = (DOCS / "filters.md").read_text(encoding="utf-8")
    # feedmill evaluate --all --docs docs
    assert "\n".join(card_lines(read_card(FILTER_STORE, name), "###")) in page


@pytest.mark.parametrize(("store", "name"), CARDS)
def test_a_store_holds_one_small_file_per_card(store: Path, name: str) -> None:
    path = store / f"{read_card(store, name).sha256}.npz"
    assert path.stat().st_size < 2_000_000
    assert len(list(store.glob("*.npz"))) == len(list(store.glob("*.json")))
