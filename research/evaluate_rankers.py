"""Evaluate the rankers on the data folder, and write docs/rankers.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bars import bar_lines
from pages import log_page_look, page_options, write_page
from ranker_engagement import evaluate_engagement
from ranker_figures import RankerEvaluation
from ranker_quality import evaluate_quality

from feedmill.models.artifact import read_card
from feedmill.models.store_files import Store
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.quality import QualityModel
from feedmill.rankers.registry import RANKERS, load
from feedmill.rankers.spec import STORE
from feedmill.training.evaluation.markdown import page_text
from feedmill.training.evaluation.plots import svg

_HEAD = """\
# The rankers, evaluated

Written by `make evaluate` with a look at the test rows. Intervals are of 95 %, by the cluster
bootstrap over groups; no row was scored by a model that had learned its group.
[The cards](models/quality.md) say what the models learned from, and
[a decision](decisions/ranker-models.md) why they are made so.
"""


def evaluate_rankers(
    names: Sequence[str], folder: Path, store: Store | None, *, look: bool
) -> list[RankerEvaluation]:
    """Evaluate rankers on the data sets in `folder`; on the test rows only with `look`.

    Raises `UsageError` where a file is missing, `BadArtifact` where a model is.
    """
    found = []
    for name in names:
        model = load(name, store)
        evaluation = RankerEvaluation(name, read_card(store or STORE, name))
        if isinstance(model, QualityModel):
            evaluate_quality(folder, model, evaluation, look=look)
        elif isinstance(model, ExpectedClicks):
            evaluate_engagement(folder, model, evaluation, look=look)
        found.append(evaluation)
    return found


def page(evaluations: Sequence[RankerEvaluation]) -> str:
    """Return the page as Markdown: bars that were missed come first."""
    bars = [bar for evaluation in evaluations for bar in evaluation.bars]
    lines = [*_HEAD.splitlines(), "", *bar_lines(["ranker", "what"], bars)]
    for evaluation in evaluations:
        version = f" `{evaluation.card.version}`" if evaluation.card else ""
        lines += [f"## {evaluation.name}{version}", ""]
        if evaluation.panels:
            lines += [f"![Curves of {evaluation.name}](rankers/{evaluation.name}.svg)", ""]
        for section in evaluation.sections:
            lines += section.lines
    return page_text(lines)


def curves(evaluations: Sequence[RankerEvaluation]) -> dict[str, str]:
    """Return the curves as SVG, by their file's name."""
    return {
        f"{one.name}.svg": svg(f"{one.name}: calibration", one.panels)
        for one in evaluations
        if one.panels
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    options = page_options("the rankers").parse_args(arguments)
    look = options.look is not None
    found = evaluate_rankers([*RANKERS], options.data, options.model, look=look)
    log_page_look(options, [one.card for one in found], [row for one in found for row in one.rows])
    write_page(options.docs, "rankers", page(found), curves(found))


if __name__ == "__main__":
    main()
