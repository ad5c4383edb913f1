"""What the scripts that write a page of evaluations share: options, the log of looks, the files."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from feedmill.models.artifact import ModelCard
from feedmill.training.evaluation.looks import Look, log_look

LOOKS = "looks.jsonl"


def page_options(what: str) -> argparse.ArgumentParser:
    """Return the options of a script that evaluates on the data folder and writes a page."""
    parser = argparse.ArgumentParser(description=f"Evaluate {what}, and write their page.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="FOLDER")
    parser.add_argument("--docs", type=Path, required=True, metavar="FOLDER", help="write here")
    parser.add_argument("--model", type=Path, metavar="STORE", help="not the shipped models")
    parser.add_argument("--look", metavar="WHY", help="measure on the test rows too, and log why")
    return parser


def log_page_look(
    options: argparse.Namespace,
    cards: Iterable[ModelCard | None],
    rows: Sequence[tuple[str, int]],
) -> None:
    """Log a look at so many rows of each source, if this is one."""
    if options.look is not None:
        models = [f"{card.name}@{card.version}" for card in cards if card is not None]
        day = datetime.now(UTC).date().isoformat()
        number = log_look(options.docs / LOOKS, Look(day, options.look, models, dict(rows)))
        print(f"look {number} at the test rows, logged in {options.docs / LOOKS}")


def write_page(docs: Path, name: str, text: str, curves: Mapping[str, str]) -> None:
    """Write ``<name>.md``, and curves by their file's name below ``<name>/``; older ones go."""
    folder = docs / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for file, svg in curves.items():
        (folder / file).write_text(svg, encoding="utf-8")
    (docs / f"{name}.md").write_text(text, encoding="utf-8")
