"""A recording: sections of lines, each line a value of its own, so that a difference is found.

Fractions have nine digits: with another processor numpy's logarithms differ in the last of sixteen.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "golden"
RECORDED = FOLDER / "recorded_flow.json"
# Apart, because these are texts for people: they may be worded anew.
REFUSALS = FOLDER / "recorded_refusals.json"

_FRACTION = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?")

Sections = dict[str, dict[str, Any]]


class Recording:
    """What a run of the flow gave."""

    def __init__(self) -> None:
        self.sections: Sections = {}
        self.refusals: Sections = {"refusals": {}}

    def add(self, section: str, line: str, value: Any) -> None:
        lines = self.sections.setdefault(section, {})
        assert line not in lines, f"{section}: {line} is there twice"
        lines[line] = value

    def refuse(self, where: str, reason: str) -> None:
        assert where not in self.refusals["refusals"], where
        self.refusals["refusals"][where] = reason


def summary(records: Sequence[bytes], shown: int) -> dict[str, Any]:
    """How many, their hash in order, and the first ones as text."""
    hashed = hashlib.sha256()
    texts = [rounded(record.decode()) for record in records]
    for text in texts:
        hashed.update(len(text).to_bytes(8, "big") + text.encode())
    said: dict[str, Any] = {"count": len(records), "sha256": hashed.hexdigest()[:32]}
    if shown:
        said["first"] = [_short(text) for text in texts[:shown]]
    return said


def rounded(text: str) -> str:
    """The text with nine significant digits in every fraction."""
    return _FRACTION.sub(lambda found: f"{float(found[0]):.9g}", text)


def _short(text: str) -> str:
    return text if len(text) <= 400 else f"{text[:400]}… ({len(text)} characters)"


def as_json(sections: Sections) -> str:
    """One line of the file a line of the recording."""
    parts = []
    for section, lines in sections.items():
        rows = [f"  {_dumped(line)}: {_dumped(value)}" for line, value in lines.items()]
        parts.append(f" {_dumped(section)}: {{\n" + ",\n".join(rows) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def read(path: Path) -> Sections:
    found: Sections = json.loads(path.read_text("utf-8"))
    return found


def plain(sections: Sections) -> Sections:
    """As reading the file gives it: tuples are lists there, floats rounded."""
    found: Sections = json.loads(as_json(sections))
    return found


def differences(found: dict[str, Any], recorded: dict[str, Any]) -> list[str]:
    """The lines that differ, each with both values, in the order of the recording."""
    return [
        f"{line}\n  recorded: {_dumped(recorded.get(line))}\n  now:      {_dumped(found.get(line))}"
        for line in dict.fromkeys((*recorded, *found))
        if line not in found or line not in recorded or found[line] != recorded[line]
    ]


def _dumped(value: Any) -> str:
    return rounded(json.dumps(value, ensure_ascii=True))
