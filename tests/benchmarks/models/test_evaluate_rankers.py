"""The rankers are measured on generated data sets, in which a word decides."""

from dataclasses import replace
from pathlib import Path

import evaluate_rankers
import numpy as np
import pytest
from evaluate_rankers import RankerEvaluation, correlation, evaluate_engagement, evaluate_quality
from scipy.stats import spearmanr

from builders.ranker_datasets import write_headline_tests, write_quality_datasets, write_reactions
from feedmill.models.artifact import read_card
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.quality import QualityModel
from feedmill.rankers.registry import load
from feedmill.training.recipes import ENGAGEMENT
from feedmill.training.trainers import engagement, quality

# Of clicks and replies alone, so that little is fitted.
TWO_HEADS = replace(ENGAGEMENT, heads=(ENGAGEMENT.heads[0], ENGAGEMENT.heads[2]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets of both rankers, and in `store` the rankers that they train."""
    folder: Path = tmp_path_factory.mktemp("data")
    write_quality_datasets(folder)
    write_headline_tests(folder, by_text=True)
    write_reactions(folder)
    quality.train(folder, folder / "store", "2026-01-01")
    engagement.train(folder, folder / "store", "2026-01-01")
    return folder


def measured_engagement(folder: Path, *, look: bool) -> RankerEvaluation:
    model = load("engagement", folder / "store")
    assert isinstance(model, ExpectedClicks)
    card = read_card(folder / "store", "engagement")
    return evaluate_engagement(folder, model, card, TWO_HEADS, look=look)


def cells(lines: list[str], first: str) -> list[str]:
    (line,) = [line for line in lines if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def value(cell: str) -> float:
    return float(cell.split(" ", maxsplit=1)[0])


@pytest.mark.parametrize("look", [False, True])
def test_what_a_word_decides_is_found_and_what_needs_no_model_stands_beside(
    folder: Path, look: bool
) -> None:
    lines = measured_engagement(folder, look=look).lines
    assert value(cells(lines, "reply, reddit | head `reply`")[-1]) > 0.7
    assert abs(value(cells(lines, "reply, reddit | shuffle")[-1])) < 0.3
    unseen, seen = cells(lines, "0"), cells(lines, "100")
    assert value(unseen[2]) < 0
    assert value(unseen[4]) > 0.9
    assert value(unseen[5]) == 0.5
    assert value(seen[2]) < 0


@pytest.mark.parametrize("look", [False, True])
def test_quality_is_beside_a_constant_and_a_shuffle(folder: Path, look: bool) -> None:
    model = load("quality", folder / "store")
    assert isinstance(model, QualityModel)
    card = read_card(folder / "store", "quality")
    lines = evaluate_quality(folder, model, card, look=look).lines
    ours = cells(lines, "helpfulness, semeval | quality")
    constant = cells(lines, "helpfulness, semeval | constant")
    assert value(ours[3]) > 0.7 > value(constant[3]) == 0
    assert value(ours[4]) > value(constant[4]) == 0.5


def test_a_look_reads_test_rows_alone_and_without_one_none_is_read(folder: Path) -> None:
    with_look, without = (measured_engagement(folder, look=look).rows for look in (True, False))
    assert with_look["upworthy"] + without["upworthy"] == 600
    assert with_look["upworthy"] < without["upworthy"]


def test_only_a_look_is_logged(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_rankers, "RANKERS", ["quality"])
    words = ["--data", str(folder), "--model", str(folder / "store"), "--docs", str(tmp_path)]
    evaluate_rankers.main(words)
    page = (tmp_path / "rankers.md").read_text("utf-8")
    assert "without a look at the test rows" in page
    assert not (tmp_path / "looks.jsonl").exists()
    evaluate_rankers.main([*words, "--look", "a test"])
    assert "LOOK=why" in (tmp_path / "rankers.md").read_text("utf-8")
    assert '"a test"' in (tmp_path / "looks.jsonl").read_text("utf-8")


def test_a_correlation_is_spearmans_and_0_of_a_constant() -> None:
    random = np.random.default_rng(3)
    truth = random.integers(0, 9, 300).astype(np.float64)
    scores = truth + random.integers(0, 9, 300)
    groups = [f"g{number % 40}" for number in range(300)]
    found = correlation(scores, truth, groups)
    assert found.value == pytest.approx(spearmanr(scores, truth).statistic)
    assert found.low < found.value < found.high
    assert correlation(np.ones(300), truth, groups).value == 0
