from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from builders.events import posts_of
from builders.training_data import sentences, training_data
from feedmill.events.errors import UsageError
from feedmill.filters.model import Evidence
from feedmill.filters.registry import FILTERS, load
from feedmill.models.artifact import ModelCard, read_card
from feedmill.models.store_files import file_sizes
from feedmill.training.local_model import fit_local
from feedmill.training.provenance import code_version
from feedmill.training.recipes import RECIPES
from feedmill.training.trainers.filters import (
    FittedChallenger,
    TrainingRun,
    save_challenger,
    train,
    train_local,
)
from feedmill.training.training_data import TrainingData, read_training_data

SPAM, RUN = FILTERS["spam"], TrainingRun("2026-01-01", "x")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelCard]:
    """A store, and the card of the filter that was trained into it."""
    store: Path = tmp_path_factory.mktemp("store")
    return store, train(SPAM, training_data(), store, RUN)


def test_the_same_data_give_the_same_sha256_and_a_model_that_learned(tmp_path: Path) -> None:
    first, second = (
        train(SPAM, training_data(), tmp_path / name, TrainingRun(day, "x", look=True))
        for name, day in (("a", "2026-01-01"), ("b", "2026-01-02"))
    )
    assert first == msgspec.structs.replace(second, trained_on=first.trained_on)
    assert (tmp_path / f"a/{first.sha256}.npz").read_bytes() == (
        tmp_path / f"b/{first.sha256}.npz"
    ).read_bytes()
    # One phrase tells the classes apart, in both data sets.
    for evaluated in ("bad", "few"):
        assert first.metrics[f"{evaluated}.auc"] > 0.95
        assert first.metrics[f"{evaluated}.caught_hidden"] > 0.9
        assert first.metrics[f"{evaluated}.fine_demoted"] < 0.1
    for source in ("one", "two"):
        assert first.metrics[f"{source}.demoted"] <= 0.1
    for name, (low, high) in first.intervals.items():
        assert low <= first.metrics[name] <= high


def test_a_card_says_how_the_model_was_made_and_without_a_look_nothing_of_test_rows(
    trained: tuple[Path, ModelCard],
) -> None:
    _, card = trained
    assert card.metrics
    assert all(".validation." in name or ".unseen." in name for name in card.metrics)
    assert card.recipe == "spam"
    assert card.parameters["max_hide_rate"] == RECIPES["spam"].max_hide_rate
    assert card.code == code_version()
    assert {"numpy", "scikit-learn", "lightgbm", "python"} <= card.libraries.keys()
    assert card.intended_use and card.factors and card.ethics and card.licence


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_learns_by_its_recipe_and_is_loaded_again(name: str, tmp_path: Path) -> None:
    train(FILTERS[name], training_data(), tmp_path, RUN)
    scores = load(name, tmp_path).score_many(
        posts_of([*sentences(20, 8, "BUY pills NOW!!!"), *sentences(20, 9)])
    )
    assert scores[:20].min() > scores[20:].max() + 0.1


def test_a_model_that_its_filter_could_not_load_is_not_saved(tmp_path: Path) -> None:
    reads_less = replace(FILTERS["misinformation"], evidence=Evidence(("text",)))
    with pytest.raises(UsageError, match="can be evaluated, not stored"):
        train(reads_less, training_data(), tmp_path, RUN)
    assert list(tmp_path.iterdir()) == []


def test_a_filter_without_a_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no recipe `none` in training/recipes\.py; there are: "):
        read_training_data(replace(SPAM, recipe="none"), [str(Path.cwd())], [])


def test_a_training_from_the_kept_rows_gives_the_same_bytes(
    tmp_path: Path, trained: tuple[Path, ModelCard]
) -> None:
    store, card = trained
    kept = [use.snapshot for use in card.data if use.snapshot]
    assert [snapshot.rows for snapshot in kept] == [300, 120, 300, 300]
    paths = [str(store / "snapshots" / f"{snapshot.sha256}.parquet") for snapshot in kept]
    again = read_training_data(SPAM, paths[:2], paths[2:])
    assert train(SPAM, again, tmp_path, RUN) == card
    assert file_sizes(store, "snapshots") == file_sizes(tmp_path, "snapshots")


def test_a_training_keeps_no_rows_where_it_may_not(tmp_path: Path) -> None:
    card = train(SPAM, training_data(), tmp_path, TrainingRun("2026-01-01", "x", keeps_rows=False))
    assert not any(use.snapshot for use in card.data)
    assert not (tmp_path / "snapshots").exists()


def test_a_base_is_fitted_to_labels_and_the_card_names_it(tmp_path: Path) -> None:
    data, run = training_data(), RUN
    others = TrainingData(data.labelled[:1], data.ordinary)
    base = train(SPAM, others, tmp_path / "base", run)
    own = TrainingData(data.labelled[:1], data.ordinary)
    card = train_local(SPAM, tmp_path / "base", own, tmp_path / "local", run)
    assert card.recipe == "local"
    assert card.parameters["base"] == base.sha256
    assert [(use.file, use.role) for use in card.data] == [
        *(("bad.csv", "labelled"), ("one.csv", "ordinary"), ("two.csv", "ordinary")),
        ("bad.csv", "labelled, of the base"),
        *(("one.csv", "ordinary, of the base"), ("two.csv", "ordinary, of the base")),
    ]
    assert load("spam", tmp_path / "local").version == card.version
    assert load("spam", tmp_path / "local").version != base.version
    again = train_local(SPAM, tmp_path / "base", own, tmp_path / "again", run)
    assert again == card


def test_a_challenger_is_saved_with_its_figures_and_not_as_the_newest(tmp_path: Path) -> None:
    data = training_data()
    base = train(SPAM, data, tmp_path, RUN)
    rows = [dataset.rows for dataset in data.labelled]
    fitted = fit_local(SPAM.load(tmp_path), RECIPES["spam"], rows, data.ordinary_posts)
    challenger = FittedChallenger(fitted, {"bets": 3.0})
    run = TrainingRun("2026-01-02", "follow")
    card = save_challenger(SPAM, tmp_path, data, challenger, tmp_path, run)
    assert read_card(tmp_path, "spam").sha256 == base.sha256 != card.sha256
    assert (card.trained_on, card.command, card.metrics) == ("2026-01-02", "follow", {"bets": 3.0})
    assert card.parameters["base"] == base.sha256
    # None of its own rows was kept from it; of those of the base some were.
    assert [use.split != "" for use in card.data] == [False] * 4 + [True] * 4
    # The snapshots of the base lie in the store of the base, which may be another one.
    assert [use.snapshot is not None for use in card.data] == [True] * 4 + [False] * 4
    assert SPAM.load(tmp_path, card.sha256).version == card.version


def test_without_ordinary_posts_the_card_says_so(tmp_path: Path) -> None:
    only = TrainingData(training_data().labelled, ())
    card = train(SPAM, only, tmp_path, RUN)
    assert any("no ordinary posts" in weakness for weakness in card.weaknesses)


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    few = tmp_path / "few.csv"
    few.write_text("text,label\n" + "".join(f"{t},1\n" for t in sentences(40, 1)))
    with pytest.raises(UsageError, match="at least 10 labelled posts to train on that are fine"):
        train(SPAM, read_training_data(SPAM, [str(few)], []), tmp_path, RUN)


def test_too_few_ordinary_groups_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.csv"
    path.write_text(
        "text,user\n" + "".join(f"{t},u{i % 2}\n" for i, t in enumerate(sentences(99, 1)))
    )
    ordinary = read_training_data(SPAM, [], [f"{path},group=user"]).ordinary
    data = TrainingData(training_data().labelled, ordinary)
    with pytest.raises(UsageError, match="found 0 in 2 groups"):
        train(SPAM, data, tmp_path, RUN)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nx,1\n")
    with pytest.raises(UsageError, match="two files are called `a`"):
        read_training_data(SPAM, [f"{tmp_path}/a.csv"] * 2, [])


def test_what_is_for_research_only_is_in_no_recipe() -> None:
    files = [file for recipe in RECIPES.values() for file in recipe.files]
    assert not any(word in file for file in files for word in ("liar", "mind"))
