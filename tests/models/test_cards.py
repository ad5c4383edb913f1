from pathlib import Path

import pytest
from msgspec.structs import replace

from feedmill.filters.model import STORE as FILTER_STORE
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import DataUse, ModelCard, Purge, Snapshot, read_card, save_artifact
from feedmill.models.cards import card_page, main
from feedmill.rankers.registry import RANKERS
from feedmill.rankers.spec import STORE as RANKER_STORE

DOCS = Path(__file__).parents[2] / "docs"
SNAPSHOT = Snapshot("3" * 64, 6, ("text", "label"), (Purge("2026-11-26", 1),))
CARDS = [(FILTER_STORE, name) for name in FILTERS] + [(RANKER_STORE, name) for name in RANKERS]


@pytest.mark.parametrize(("store", "name"), CARDS)
def test_the_page_says_what_the_card_says(store: Path, name: str) -> None:
    page = (DOCS / "models" / f"{name}.md").read_text(encoding="utf-8")
    # make evaluate
    assert page == card_page(read_card(store, name))


@pytest.mark.parametrize("name", [name for _, name in CARDS])
def test_what_is_measured_is_the_shipped_version(name: str) -> None:
    page = "filters.md" if name in FILTERS else "rankers.md"
    store = FILTER_STORE if name in FILTERS else RANKER_STORE
    assert f"`{read_card(store, name).version}`" in (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize(("store", "name"), CARDS)
def test_a_store_holds_one_small_file_per_card(store: Path, name: str) -> None:
    path = store / f"{read_card(store, name).sha256}.npz"
    assert path.stat().st_size < 2_000_000
    assert len(list(store.glob("*.npz"))) == len(list(store.glob("*.json")))


def test_a_card_is_read_as_it_was_saved_and_its_page_names_kept_rows(tmp_path: Path) -> None:
    use = DataUse("toys.csv", 7, "CC0", "labelled", "1" * 64, "by toy", SNAPSHOT)
    metrics = {"toys.validation.hidden": 0.5}
    about = ("A toy.", 1, [use], metrics, ["breaks"], "make it")
    card = ModelCard("toy", "0" * 64, "2026-01-01", *about)
    save_artifact(tmp_path, card, b"any")
    assert read_card(tmp_path, "toy") == card
    kept = f"- snapshot of toys.csv (labelled): `{'3' * 64}`, 6 rows, 2 columns"
    explained = "`<set>.validation` are the posts on which the thresholds were chosen"
    assert explained in card_page(card)
    # What a card has no rows of is not explained.
    assert explained not in card_page(replace(card, metrics={}))
    assert "<set>.unseen" not in card_page(card)
    assert f"{kept}; rows purged on 2026-11-26: 1" in card_page(card)
    # The sections of Mitchell et al. are those of the pages that ship.
    page = card_page(read_card(RANKER_STORE, "quality"))
    for section in (
        *("Model details", "Intended use", "Factors", "Training data", "Ethical considerations"),
        *("Caveats and known failures", "Metrics and quantitative analyses"),
    ):
        assert f"\n## {section}\n" in page


def test_pages_are_written_of_current_models_only(tmp_path: Path) -> None:
    for sha256 in ("1" * 64, "2" * 64):
        card = ModelCard("toy", sha256, "2026-01-01", "", 1, [], {}, [], "")
        save_artifact(tmp_path / "store", card, b"any")
    main([str(tmp_path / "store"), "--out", str(tmp_path / "docs")])
    assert [path.name for path in (tmp_path / "docs").iterdir()] == ["toy.md"]
    assert "2" * 64 in (tmp_path / "docs/toy.md").read_text()
