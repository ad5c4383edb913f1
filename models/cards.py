"""Model cards as Markdown: ``python -m feedmill.models.cards <store>… --out docs/models``.

The sections are those of Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec

from feedmill.models.artifact import ModelCard, read_card


def _card_lines(card: ModelCard) -> list[str]:
    """Return the lines of a card about the model itself, its metrics left out, as Markdown."""
    data = [
        f"| {d.file} | {d.rows:,} | {d.licence} | {d.role} | {d.split} | `{d.sha256[:12]}` |"
        for d in card.data
    ]
    return [
        card.summary,
        "",
        "## Model details",
        "",
        f"Version `{card.version}`, trained {card.trained_on} with `{card.command}`;",
        f"{card.features} features; artifact sha256 `{card.sha256}`.",
        *_how_it_was_trained(card),
        "",
        *_section("## Intended use", card.intended_use),
        *_section("## Factors", card.factors),
        "## Training data",
        "",
        "| file | rows | licence as stated | role | split | sha256 |",
        "|---|--:|---|---|---|---|",
        *data,
        *_snapshots(card),
        "",
        *_section("## Ethical considerations", card.ethics),
        *_section("## Caveats and known failures", card.weaknesses)[:-1],
    ]


def _section(heading: str, sentences: Sequence[str]) -> list[str]:
    return [heading, "", *(f"- {sentence}" for sentence in sentences), ""] if sentences else []


def _snapshots(card: ModelCard) -> list[str]:
    """Return a line for each data set whose rows are kept, and what was taken out of them."""
    lines = []
    for use in card.data:
        if kept := use.snapshot:
            gone = "".join(f"; rows purged on {purge.on}: {purge.rows:,}" for purge in kept.purged)
            rows = f"{kept.rows:,} rows, {len(kept.columns)} columns"
            lines.append(f"- snapshot of {use.file} ({use.role}): `{kept.sha256}`, {rows}{gone}")
    return ["", *lines] if lines else []


def _how_it_was_trained(card: ModelCard) -> list[str]:
    """Return licence, code, libraries and recipe, as far as the card states them."""
    lines = []
    if card.licence:
        lines.append(f"- licence of the model: {card.licence}")
    if card.code is not None:
        code = card.code
        lines.append(f"- code: feedmill {code.package}, sources sha256 `{code.source_sha256}`")
    if card.libraries:
        versions = ", ".join(f"{name} {version}" for name, version in card.libraries.items())
        lines.append(f"- libraries: {versions}")
    if card.recipe:
        parameters = msgspec.json.encode(card.parameters, order="deterministic").decode()
        lines.append(f"- recipe `{card.recipe}`, seed {card.seed}: `{parameters}`")
    return ["", *lines] if lines else []


# What rows of figures are, by a part of their names.
_PARTS = {
    ".validation.": "`<set>.validation` are the posts on which the thresholds were chosen.",
    ".unseen.": (
        "Each row of `<set>.unseen` was scored by a model of the same recipe that had not learned"
        " the row."
    ),
}


def card_page(card: ModelCard) -> str:
    """Return the page of one model card as Markdown."""
    explained = [
        text for part, text in _PARTS.items() if any(part in name for name in card.metrics)
    ]
    lines = [
        f"# Model card: {card.name}",
        "",
        *_card_lines(card),
        "",
        "## Metrics and quantitative analyses",
        "",
        "Figures on rows that a model did not learn: [filters](../filters.md),",
        "[rankers](../rankers.md).",
        *explained,
        *(["Intervals are of 95 %."] if card.intervals else []),
        "",
        "| metric | value | interval |",
        "|---|--:|---|",
        *(
            f"| {name} | {value:,.4f} | {_interval(card, name)} |"
            for name, value in card.metrics.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _interval(card: ModelCard, name: str) -> str:
    if name not in card.intervals:
        return ""
    low, high = card.intervals[name]
    return f"{low:.4f} to {high:.4f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a page for each current card of the given stores."""
    parser = argparse.ArgumentParser(description="Write the model cards as Markdown.")
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for store in options.stores:
        for path in sorted(store.glob("*.json")):
            # `<name>@<version>.json` is the card of an earlier model.
            if "@" not in path.stem:
                card = read_card(store, path.stem)
                (options.out / f"{card.name}.md").write_text(card_page(card), encoding="utf-8")


if __name__ == "__main__":
    main()
