"""The evaluation of both rankers, on generated data sets in which a word decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from feedmill.training.evaluation import ranker_engagement
from feedmill.training.evaluation.ranker_report import RankerBar, RankerEvaluation
from feedmill.training.evaluation.ranker_runs import evaluate_rankers, write_ranker_page
from feedmill.training.ranker_recipes import ENGAGEMENT


@pytest.fixture(scope="module")
def looked(ranker_folder: Path) -> list[RankerEvaluation]:
    two_heads = replace(ENGAGEMENT, heads=(ENGAGEMENT.heads[0], ENGAGEMENT.heads[2]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranker_engagement, "ENGAGEMENT", two_heads)
        return evaluate_rankers(
            ["quality", "engagement"], ranker_folder, ranker_folder / "store", look=True
        )


def bar(evaluation: RankerEvaluation, what: str) -> RankerBar:
    (found,) = [bar for bar in evaluation.bars if what in bar.what]
    return found


def test_without_a_look_no_test_row_is_read(ranker_folder: Path) -> None:
    found = evaluate_rankers(["quality"], ranker_folder, ranker_folder / "store", look=False)
    assert found[0].rows == []
    assert not any("test rows" in section.title for section in found[0].sections)
    (curve,) = [s for s in found[0].sections if s.title == "Learning curve of quality"]
    assert [row[1] for row in curve.rows] == ["25%", "50%", "100%"] * 2
    by_webis = [float(row[2].split()[0]) for row in curve.rows if "webis" in row[0]]
    assert by_webis[2] > 0.5
    for _, _, without, trees, less in curve.rows:
        linear, whole, gain = (float(cell.split()[0]) for cell in (without, trees, less))
        assert whole - linear == pytest.approx(gain, abs=0.0015)


def test_what_a_word_decides_is_found(looked: list[RankerEvaluation]) -> None:
    by_text = looked[1]
    assert bar(by_text, "pairs in order, later tests").figure.low > 0.9
    assert bar(by_text, "slope, tests never trained").is_reached
    assert bar(by_text, "reply (reddit), groups never trained").figure.low > 0.7
    assert bar(by_text, "log loss less that of smoothed rate after 100").figure.high < 0
    assert bar(by_text, "calibration error over the base rate after 100").is_reached


def test_baselines_stand_in_the_same_table(looked: list[RankerEvaluation]) -> None:
    (table,) = [s for s in looked[1].sections if s.title == "After 500 impressions"]
    rows = {row[0]: row for row in table.rows}
    assert set(rows) >= {"engagement", "newest first", "most clicked", "smoothed rate", "constant"}
    assert float(rows["engagement"][1]) < float(rows["smoothed rate"][1])
    assert rows["newest first"][1] == ""
    assert float(rows["constant"][3]) == 0.5
    (stored,) = [s for s in looked[0].sections if "test rows of semeval" in s.title]
    assert [row[0] for row in stored.rows][0::4] == ["quality", "seeded shuffle"]


def test_the_page_is_written_with_its_curves(
    looked: list[RankerEvaluation], tmp_path: Path
) -> None:
    write_ranker_page(looked, tmp_path, "feedmill evaluate rankers")
    text = (tmp_path / "rankers.md").read_text("utf-8")
    assert "## engagement `" in text
    assert "rankers/quality.svg" in text
    for name in ("quality", "engagement"):
        assert (tmp_path / "rankers" / f"{name}.svg").read_text("utf-8").startswith("<svg")
    assert "wonderful" not in text
    assert "wow" not in text
