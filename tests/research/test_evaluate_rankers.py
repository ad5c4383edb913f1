"""The evaluation of both rankers, on generated data sets in which a word decides."""

from dataclasses import replace
from pathlib import Path

import evaluate_rankers
import pytest
import ranker_engagement
from bars import Bar
from ranker_figures import RankerEvaluation

from feedmill.training.ranker_recipes import ENGAGEMENT


@pytest.fixture(scope="module")
def looked(ranker_folder: Path) -> list[RankerEvaluation]:
    two_heads = replace(ENGAGEMENT, heads=(ENGAGEMENT.heads[0], ENGAGEMENT.heads[2]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranker_engagement, "ENGAGEMENT", two_heads)
        return evaluate_rankers.evaluate_rankers(
            ["quality", "engagement"], ranker_folder, ranker_folder / "store", look=True
        )


def bar(evaluation: RankerEvaluation, what: str) -> Bar:
    (found,) = [bar for bar in evaluation.bars if what in bar.names[1]]
    return found


def test_without_a_look_no_test_row_is_read(
    ranker_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_rankers, "RANKERS", ["quality"])
    words = ["--data", str(ranker_folder), "--model", str(ranker_folder / "store")]
    evaluate_rankers.main([*words, "--docs", str(tmp_path)])
    text = (tmp_path / "rankers.md").read_text("utf-8")
    assert "| quality | Spearman on webis less that of a ridge on shape and n-grams |" in text
    assert "Stored model" not in text
    assert not (tmp_path / "looks.jsonl").exists()


def test_what_a_word_decides_is_found(looked: list[RankerEvaluation]) -> None:
    by_text = looked[1]
    assert bar(by_text, "pairs in order, later tests").figure.low > 0.9
    assert bar(by_text, "slope, tests never trained").is_reached
    assert bar(by_text, "reply (reddit), groups never trained").figure.low > 0.7
    assert bar(by_text, "log loss less that of smoothed rate after 100").figure.high < 0
    assert bar(by_text, "calibration error over the base rate after 100").is_reached


def test_baselines_stand_in_the_same_table(looked: list[RankerEvaluation]) -> None:
    (table,) = [s for s in looked[1].sections if s.title == "As impressions come"]
    rows = {row[0]: row[1:] for row in table.rows if row[1] == "500"}
    assert set(rows) == {"engagement", "most clicked", "smoothed rate", "text alone"}
    assert float(rows["engagement"][1]) < float(rows["smoothed rate"][1])
    assert rows["most clicked"][1] == ""
    (stored,) = [s for s in looked[0].sections if "test rows of semeval" in s.title]
    assert [row[0] for row in stored.rows][0::4] == ["quality", "seeded shuffle"]


def test_the_page_has_its_bars_and_curves_and_no_text(looked: list[RankerEvaluation]) -> None:
    text = evaluate_rankers.page(looked)
    assert "## engagement `" in text
    assert (
        "| engagement | significant pairs in order, later tests | ≥ 0.6, lower end ≥ 0.57 |" in text
    )
    assert "rankers/quality.svg" in text
    assert [*evaluate_rankers.curves(looked)] == ["quality.svg", "engagement.svg"]
    assert all(svg.startswith("<svg") for svg in evaluate_rankers.curves(looked).values())
    assert "wonderful" not in text
    assert "wow" not in text
