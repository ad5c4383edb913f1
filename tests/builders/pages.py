"""Pages of docs as programs: their blocks, and what a person types of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# A person who does not see a change yet looks again; only what reads is typed again.
_LOOK_AGAIN = """
feedmill() {
    if [ "$1" = explain ] || [ "$1" = feed ]; then
        for _ in $(seq 60); do command feedmill "$@" && return 0; sleep 0.5; done
    fi
    command feedmill "$@"
}
"""


class Block(NamedTuple):
    """A block of code of a page: `language` is "" for an indented one; `line` is its first."""

    language: str
    line: int
    text: str


def blocks_of(page: str) -> Iterator[Block]:
    """Yield the blocks of a page's text, in their order."""
    language: str | None = None
    start = 0
    lines: list[str] = []
    for number, line in enumerate([*page.splitlines(), ""], 1):
        if line.startswith("```"):
            if language:
                yield Block(language, start, "".join(lines))
            language, start, lines = (None if language else line[3:]), number, []
        elif language is not None:
            lines.append(f"{line}\n")
        elif line.startswith("    "):
            start = start if lines else number
            lines.append(f"{line[4:]}\n")
        elif lines:
            yield Block("", start, "".join(lines))
            lines = []


def terminal_of(page: Path) -> str:
    """Return what a page has for a terminal of its own: its blocks of `sh`."""
    return "".join(block.text for block in blocks_of(page.read_text()) if block.language == "sh")


def script_of(page: Path) -> str:
    """Return a page's indented blocks and blocks of `python` as a script for bash."""
    parts = ["set -euo pipefail", _LOOK_AGAIN]
    for block in blocks_of(page.read_text()):
        if block.language not in ("", "python"):
            continue
        parts.append(f"echo '== {page.name}, line {block.line}' >&2")
        is_python = block.language == "python"
        parts.append(f"python - <<'END'\n{block.text}END" if is_python else block.text)
    return "\n".join(parts)
