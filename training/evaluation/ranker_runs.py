"""Evaluate rankers by name, and write their page: what `feedmill evaluate` calls for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from feedmill.models.artifact import read_card
from feedmill.models.store_files import Store
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.quality import QualityModel
from feedmill.rankers.registry import load
from feedmill.rankers.spec import STORE
from feedmill.training.evaluation.plots import svg
from feedmill.training.evaluation.ranker_contrast import evaluate_contrast
from feedmill.training.evaluation.ranker_engagement import evaluate_engagement
from feedmill.training.evaluation.ranker_quality import evaluate_quality
from feedmill.training.evaluation.ranker_report import RankerEvaluation, page


def evaluate_rankers(
    names: Sequence[str], folder: Path, store: Store | None, *, look: bool
) -> list[RankerEvaluation]:
    """Evaluate rankers on the data sets in `folder`; on the test rows only with `look`.

    Raises `UsageError` where a file is missing, `BadArtifact` where a model is.
    """
    found = []
    models = {name: load(name, store) for name in names}
    for name, model in models.items():
        evaluation = RankerEvaluation(name, read_card(store or STORE, name))
        if isinstance(model, QualityModel):
            evaluate_quality(folder, model, evaluation, look=look)
        elif isinstance(model, ExpectedClicks):
            evaluate_engagement(folder, model, evaluation, look=look)
        found.append(evaluation)
    quality, engagement = models.get("quality"), models.get("engagement")
    if look and isinstance(quality, QualityModel) and isinstance(engagement, ExpectedClicks):
        evaluate_contrast(folder, quality, engagement, found[-1])
    return found


def write_ranker_page(evaluations: Sequence[RankerEvaluation], docs: Path, command: str) -> None:
    """Write ``rankers.md`` into `docs`, and the curves into ``rankers/`` beside it."""
    (docs / "rankers").mkdir(parents=True, exist_ok=True)
    (docs / "rankers.md").write_text(page(evaluations, command), encoding="utf-8")
    for evaluation in evaluations:
        if evaluation.panels:
            text = svg(f"{evaluation.name}: calibration", evaluation.panels)
            (docs / "rankers" / f"{evaluation.name}.svg").write_text(text, encoding="utf-8")
