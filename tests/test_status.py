"""The README's status is true: what it calls missing is missing, and no command does it."""

import json
import re
from pathlib import Path

import pytest

from builders.command_tree import command_tree
from feedmill.cli.main import main
from feedmill.events.errors import BadSetting
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames

README = Path(__file__).parents[1] / "README.md"


def refused(key: str, value: object) -> bool:
    """Whether every stage refuses this setting."""
    record = json.dumps({"value": value}).encode()
    try:
        Settings(SignalNames()).fold(key.encode(), record, 0)
    except BadSetting:
        return True
    return False


# What the README calls missing, and whether it is.
MISSING = {
    "explore": lambda: refused("weights", {"quality": 1, "engagement": 1, "explore": 0.1}),
    "rankings": lambda: refused("rankings/global", {}),
    "follows": lambda: refused("feeds/mine", {"match": {"follows": ["ann"]}}),
}


def missing_by_readme() -> str:
    after = README.read_text("utf-8").partition("These parts do not exist yet.")[2]
    return after.partition("\n\n## ")[0]


@pytest.mark.parametrize("name", MISSING)
def test_what_the_status_calls_missing_is_missing(name: str) -> None:
    assert name in missing_by_readme()
    assert MISSING[name]()


# What in the tree proves that a part exists, and the words by which the README would deny the part.
PROOFS = {
    "personal feeds": "readers/web.py",
    "Kubernetes": "deploy/chart/Chart.yaml",
    "TLS": "tests/e2e/secured/test_secured.py",
}


@pytest.mark.parametrize("words", PROOFS)
def test_the_status_denies_nothing_that_is_in_the_tree(words: str) -> None:
    assert (README.parent / PROOFS[words]).exists()
    assert words.lower() not in missing_by_readme().lower()
    status = README.read_text("utf-8").partition("## Status")[2]
    denials = re.findall(r"[^.]*\bnot tested\b[^.]*", status)
    assert not [denial for denial in denials if words in denial]


def test_what_there_is_a_command_for_is_not_called_missing() -> None:
    text = missing_by_readme()
    assert set(re.findall(r"`([a-z]+)`", text)) <= set(MISSING)
    text = re.sub("`.*?`", "", text)
    for words, command in command_tree(main):
        options = [name.strip("-") for each in command.params for name in each.opts]
        for name in (*words.split()[-1:], *options):
            is_said = re.search(rf"\b{name.removesuffix('y')}(y|ies|s)?\b", text)
            # The words of "personal feeds" and "asks for one".
            assert not is_said or name in ("feed", "for"), (words, name)
