import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filters_page import WholeEvaluation, curves, ordinary_lines, page
from health_posts import HealthReport
from msgspec.structs import replace
from pages import write_page

from builders.training_data import dataset, labelled, ordinary, training_data
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.models.artifact import ModelCard
from feedmill.models.text_model import Scores
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation.filter_metrics import LargeGroup
from feedmill.training.evaluation.intervals import Figure
from feedmill.training.evaluation.ordinary_posts import evaluate_ordinary
from feedmill.training.evaluation.report import (
    Evaluation,
    FilterReport,
    as_markdown,
)
from feedmill.training.evaluation.stored_models import evaluate_stored
from feedmill.training.training_data import TrainingData


class Shouting:
    """Scores by capital letters."""

    name, version = "spam", "0" * 12

    def score_many(self, posts: Sequence[Post]) -> Scores:
        return np.array([0.95 if "BUY" in post.text else 0.05 for post in posts])

    def score_batch(self, batch: PostBatch) -> Scores:
        return self.score_many(batch.posts)


def evaluation() -> WholeEvaluation:
    datasets = [
        dataset(LabelledPosts("sms", rows.posts, rows.labels, rows.groups, rows.splits))
        for rows in [labelled("sms", 1)]
    ]
    data = TrainingData(tuple(datasets), training_data().ordinary)
    card = ModelCard(
        "spam", "a" * 64, "2026-01-01", "Unwanted.", 3, [], {}, ["reads no pictures"], "made"
    )
    reports = evaluate_stored(Shouting(), card, data, look=True).reports
    on_ordinary = evaluate_ordinary([Shouting()], [ordinary("one", 3)], "test rows")
    health = [HealthReport("reddit", False, 9, Figure(0.2, 0.1, 0.3))]
    report = FilterReport("spam", card, reports, ["youtube"], on_ordinary)
    return WholeEvaluation(Evaluation([report], on_ordinary), health, [])


def with_(found: WholeEvaluation, **changed: Any) -> WholeEvaluation:
    return dataclasses.replace(found, evaluation=replace(found.evaluation, **changed))


def test_the_page_shows_bars_cards_and_curves_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters" / "old.svg").touch()
    text = page(evaluation())
    write_page(tmp_path, "filters", text, curves(evaluation().evaluation))
    assert text == (tmp_path / "filters.md").read_text("utf-8")
    assert "| spam | sms: caught demoted | shipped | ≥ 0.92 | 1.000 (0." in text
    assert (
        "| all | ordinary posts, one, all characters: hidden | shipped | upper end ≤ 0.01 |" in text
    )
    assert "- reads no pictures" in text
    assert "not evaluated on youtube: give --look" in text
    images = re.findall(r"\]\((filters/[^)]*)\)", text)
    assert images == ["filters/spam-sms-stored.svg"]
    assert [path.name for path in (tmp_path / "filters").iterdir()] == ["spam-sms-stored.svg"]


def test_missed_bars_come_first() -> None:
    bars = page(evaluation()).split("## The bars")[1].split("##")[0].splitlines()
    reached = [
        line.endswith("| yes |")
        for line in bars
        if line.startswith(("| spam", "| all", "| misinf"))
    ]
    assert reached == sorted(reached)
    assert not reached[0] and reached[-1]
    # Four bars of cells are reached, and stand in the table of cells alone.
    assert f"Of {len(reached) + 4} bars {reached.count(False)} are missed" in "\n".join(bars)
    assert "The 4 others are of cells" in "\n".join(bars)


def test_a_missed_bar_of_a_cell_is_among_the_bars() -> None:
    found = evaluation()
    together = found.evaluation.together
    assert together is not None
    cells = [replace(cell, hidden=Figure(0.5, 0.4, 0.6)) for cell in together.cells]
    text = page(with_(found, together=replace(together, cells=cells)))
    rows = [line for line in text.splitlines() if "characters: hidden" in line]
    assert len(rows) == 3
    assert all(row.endswith("| **no** |") for row in rows)


def test_of_ordinary_posts_the_page_has_cells_with_rows_enough() -> None:
    found = evaluation().evaluation
    ordinary_posts = found.filters[0].ordinary
    assert ordinary_posts is not None
    large, small = ordinary_posts.cells[0], replace(ordinary_posts.cells[0], source="few", rows=299)
    large = replace(large, rows=300, demoted=Figure(0.1, 0.05, 0.2), hidden=Figure(0.2, 0.1, 0.3))
    ordinary_posts = replace(ordinary_posts, cells=[large, small])
    report = replace(found.filters[0], ordinary=ordinary_posts)
    lines = ordinary_lines(ordinary_posts, [report, replace(report, filter="nsfw")])
    shown = " | ".join(["20.00 (10.00 to 30.00)", *["10.00 (5.00 to 20.00)"] * 3])
    assert f"| one | to 100 | 300 | {large.groups} | {shown} |" in lines
    assert not [line for line in lines if "few" in line]


def test_of_a_set_the_page_has_the_largest_group_that_is_not_all_of_it() -> None:
    found = evaluation()
    (report,) = found.evaluation.filters
    (measured,) = report.datasets
    groups = [
        LargeGroup(name, 0.1, measured.metrics, None if name == "whole" else measured.metrics)
        for name in ("first", "second", "whole")
    ]
    for shown, names in ((groups, ["first"]), (groups[2:], [])):
        one = replace(report, datasets=[replace(measured, large_groups=shown)])
        text = page(with_(found, filters=[one]))
        assert re.findall(r"^\| sms: `(\w+)` alone", text, re.MULTILINE) == names


def test_of_models_that_nobody_ships_the_page_says_less() -> None:
    found = evaluation()
    report = found.evaluation.filters[0]
    folds = [replace(dataset, mode="folds") for dataset in report.datasets]
    text = page(with_(found, filters=[replace(report, datasets=folds)]))
    assert "Other models: grouped cross-validation of the recipe" in text
    assert "average precision" not in text
    assert "average precision" in page(found)


def test_no_report_shows_a_text() -> None:
    for text in (page(evaluation()), as_markdown(evaluation().evaluation)):
        assert "sms-" in text
        assert "BUY" not in text
