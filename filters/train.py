"""Train one filter: ``python -m feedmill.filters.train spam --data ../shared/data --out …``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from feedmill.features.artifact import Card, save, sha256_of
from feedmill.features.corpus import Corpus
from feedmill.features.model import feature_names
from feedmill.features.sets import ordinary
from feedmill.filters.fit import TABLES, fit
from feedmill.filters.judge import judge, unseen
from feedmill.filters.recipes import RECIPES, Recipe, uses


@dataclass(frozen=True)
class Material:
    """Everything a filter is trained, tuned and judged on."""

    labelled: tuple[Corpus, ...]
    ordinary: tuple[Corpus, ...]


def material(recipe: Recipe, folder: Path) -> Material:
    """Read the data of a recipe."""
    return Material(
        tuple(source.load(folder) for source in recipe.sources), tuple(ordinary(folder))
    )


def train(name: str, folder: Path, out: Path, day: str) -> Card:
    """Train, judge and save the filter `name` into the store `out`."""
    recipe = RECIPES[name]
    data = material(recipe, folder)
    learn = [c.where(c.parts != "judge") for c in data.labelled]
    fitted = fit(recipe, learn, data.ordinary)
    content = fitted.content(name)
    digest = sha256_of(content)
    model = fitted.model(name, digest[:12])
    card = Card(
        name=name,
        sha256=digest,
        trained_on=day,
        summary=recipe.summary,
        features=len(feature_names(TABLES)),
        data=uses(recipe, fitted.rows),
        metrics=judge(model, data.labelled, data.ordinary) | _left_out(recipe, data, learn),
        weaknesses=list(recipe.weaknesses),
        command=f"python -m feedmill.filters.train {name}",
    )
    save(out, card, content)
    return card


def _left_out(recipe: Recipe, data: Material, learn: Sequence[Corpus]) -> dict[str, float]:
    """Train again without each labelled set, whole, and judge on it: a platform never seen."""
    metrics: dict[str, float] = {}
    for index in range(len(recipe.sources) if len(recipe.sources) > 1 else 0):
        others = recipe.sources[:index] + recipe.sources[index + 1 :]
        rest = [rows for position, rows in enumerate(learn) if position != index]
        model = fit(replace(recipe, sources=others), rest, data.ordinary).model("left_out", "")
        metrics |= unseen(model, data.labelled[index])
    return metrics


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the filters named on the command line."""
    parser = argparse.ArgumentParser(description="Train filters from labelled data.")
    parser.add_argument("names", nargs="+", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "artifacts")
    parser.add_argument("--day", default=None, help="the card's date; today unless given")
    options = parser.parse_args(arguments)
    for name in options.names:
        card = train(name, options.data, options.out, options.day or date.today().isoformat())
        print(f"{name}@{card.version}")
        for metric, value in card.metrics.items():
            print(f"  {metric:44} {value:.4f}")


if __name__ == "__main__":
    main()
