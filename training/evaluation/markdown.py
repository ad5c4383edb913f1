"""What reports are written of, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return the lines of a table; its columns from `left` on hold numbers."""
    rule = ["---"] * left + ["--:"] * (len(head) - left)
    return [f"| {' | '.join(line)} |" for line in (head, rule, *rows)]


def page_text(lines: Sequence[str]) -> str:
    """Return the lines of a page as its text, with one line break at its end."""
    return "\n".join(lines).rstrip("\n") + "\n"
