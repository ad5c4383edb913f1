"""What commands print, one after the other, as it is on every machine: for golden files."""

import re
from collections.abc import Iterable, Mapping

from builders.commands import Run

_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ")
_EPOCH_MS = re.compile(r"\b1[5-9]\d{11}\b")
_MILLISECONDS = re.compile(r"\b\d+(\.\d+)? ms\b")
_BLANKS = re.compile(r"(?<=\S) {2,}")
_DIGEST = re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{8,64}\b")


def transcript(run: Run, lines: Iterable[str], hidden: Mapping[str, str] | None = None) -> str:
    """Run commands; return each with its output, `!` before what is on stderr, and a bad exit code.

    `hidden` are texts of this run, each with the word that stands for it.
    """
    blocks = []
    for line in lines:
        result = run(line)
        assert result.exception is None or isinstance(result.exception, SystemExit), line
        said = [f"    {text}" for text in result.stdout.splitlines()]
        said += [f"  ! {text}" for text in result.stderr.splitlines()]
        said += [f"    exit {result.exit_code}"] if result.exit_code else []
        blocks.append("\n".join([f"$ feedmill {line}", *(text.rstrip() for text in said)]))
    return masked("\n".join(blocks) + "\n", hidden)


def masked(text: str, hidden: Mapping[str, str] | None = None) -> str:
    """The text with words for times, durations and digests; columns stand two blanks apart."""
    for given, word in (hidden or {}).items():
        text = text.replace(given, word)
    text = _MILLISECONDS.sub("<n> ms", _EPOCH_MS.sub("<ms>", _TIME.sub("<time>", text)))
    return _BLANKS.sub("  ", _DIGEST.sub("<digest>", text))
