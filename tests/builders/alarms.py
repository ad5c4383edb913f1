"""The rules of deploy/alarms, read for tests."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml  # type: ignore[import-untyped]  # it has no types

RULES = Path(__file__).parents[2] / "deploy/alarms/feedmill.rules.yml"


class Rule(NamedTuple):
    """One alarm, as its file has it."""

    expr: str
    severity: str
    annotations: dict[str, str]

    @property
    def text(self) -> str:
        """All that people read of it."""
        return "\n".join(self.annotations.values())


@cache
def rules() -> dict[str, Rule]:
    """The alarms by their names, in the order of the file."""
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return {
        rule["alert"]: Rule(rule["expr"], rule["labels"]["severity"], rule["annotations"])
        for group in groups
        for rule in group["rules"]
    }
