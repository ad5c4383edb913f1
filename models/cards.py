"""Model cards as Markdown: ``python -m feedmill.models.cards <store>… --out docs/models``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from feedmill.models.artifact import ModelCard, read_card


def card_lines(card: ModelCard, heading: str = "##") -> list[str]:
    """Return the lines of a card about the model itself, its metrics left out, as Markdown."""
    data = [
        f"| {d.file} | {d.rows:,} | {d.licence} | {d.role} | {d.split} | `{d.sha256[:12]}` |"
        for d in card.data
    ]
    return [
        card.summary,
        "",
        f"Version `{card.version}`, trained {card.trained_on} with `{card.command}`;",
        f"{card.features} features; artifact sha256 `{card.sha256}`.",
        "",
        f"{heading} Learned from",
        "",
        "| file | rows | licence as stated | role | split | sha256 |",
        "|---|--:|---|---|---|---|",
        *data,
        "",
        f"{heading} What it cannot do",
        "",
        *(f"- {weakness}" for weakness in card.weaknesses),
    ]


def card_page(card: ModelCard) -> str:
    """Return the page of one model card as Markdown."""
    metrics = [f"| {name} | {value:,.4f} |" for name, value in card.metrics.items()]
    lines = [
        f"# Model card: {card.name}",
        "",
        *card_lines(card),
        "",
        "## Measured on rows that neither trained nor tuned it",
        "",
        "| metric | value |",
        "|---|--:|",
        *metrics,
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a page for each card of the given stores."""
    parser = argparse.ArgumentParser(description="Write the model cards as Markdown.")
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for store in options.stores:
        for path in sorted(store.glob("*.json")):
            card = read_card(store, path.stem)
            (options.out / f"{card.name}.md").write_text(card_page(card), encoding="utf-8")


if __name__ == "__main__":
    main()
