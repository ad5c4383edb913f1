"""What both evaluations share: their options, the log of looks, and the page that they write."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from feedmill.models.artifact import ModelCard
from feedmill.training.evaluation.filter_evaluation import page_text
from feedmill.training.evaluation.looks import Look, log_look


def page_options(what: str) -> argparse.ArgumentParser:
    """Return the options of a script that measures shipped models on the data folder."""
    parser = argparse.ArgumentParser(description=f"Measure {what}, and write their page.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="FOLDER")
    parser.add_argument("--docs", type=Path, required=True, metavar="FOLDER", help="write here")
    parser.add_argument("--model", type=Path, metavar="STORE", help="not the shipped models")
    parser.add_argument("--look", metavar="WHY", help="measure on the test rows, and log why")
    return parser


def write_page(
    options: argparse.Namespace, name: str, lines: list[str], curves: Mapping[str, str]
) -> None:
    """Write ``<name>.md``, and curves by their file's name below ``<name>/``; older ones go."""
    folder = options.docs / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for file, svg in curves.items():
        (folder / file).write_text(svg, encoding="utf-8")
    (options.docs / f"{name}.md").write_text(page_text(lines), encoding="utf-8")
    print(f"wrote {options.docs / name}.md")


def log_page_look(
    options: argparse.Namespace, cards: Iterable[ModelCard], rows: Mapping[str, int]
) -> None:
    """Log a look at so many rows of each source, if this is one."""
    if options.look is not None:
        models = [f"{card.name}@{card.version}" for card in cards]
        day = datetime.now(UTC).date().isoformat()
        number = log_look(options.docs / "looks.jsonl", Look(day, options.look, models, dict(rows)))
        print(f"look {number} at the test rows, logged in {options.docs / 'looks.jsonl'}")


def rows_measured(*, look: bool) -> str:
    """Return the sentence of a page that says which rows its figures are of."""
    if look:
        return "Measured by `make evaluate LOOK=why`, on test rows, which train and tune no model."
    return "Measured by `make evaluate` without a look at the test rows."
