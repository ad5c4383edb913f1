"""The docs say what the code does: commands, variables, metrics, topics, defaults and links."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

import feedmill.streams.stages.flow
from feedmill.cli.main import main
from feedmill.events.gates import GatePolicy
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.streams.kafka.topics import TopicSpec, topic_table
from feedmill.streams.observe import metrics_page as metrics_doc
from feedmill.streams.settings.environment import _SECURITY, Environment

ROOT = Path(__file__).parents[1]
CODE = (
    *("events", "features", "models", "filters", "rankers", "training", "streams", "simulation"),
    *("deploy", "cli", "benchmarks", "examples"),
)
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
WITH_COMMANDS = [ROOT / "README.md", ROOT / "docs/operating.md", ROOT / "docs/contracts.md"]


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def sources() -> Iterator[str]:
    for folder in CODE:
        for path in (ROOT / folder).rglob("*.py"):
            yield path.read_text("utf-8")


# --- commands -------------------------------------------------------------------------------


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from leaves(child, (*path, name))
    else:
        yield path


def named_commands(text: str) -> set[tuple[str, ...]]:
    """`feedmill config get|set` names (config, get) and (config, set)."""
    found: set[tuple[str, ...]] = set()
    for match in re.finditer(r"feedmill ([a-z][a-z|]*)(?: ([a-z][a-z|]*))?", text):
        words = [word.split("|") for word in match.groups() if word]
        for end in range(1, len(words) + 1):
            found.update(itertools.product(*words[:end]))
    return found


def command_lines(text: str) -> Iterator[list[str]]:
    """The arguments of each `feedmill …` that stands in a block of code."""
    for line in text.splitlines():
        match = re.match(r"    (?:\S*/)?feedmill +([a-z].*)", line)
        if match:
            shown = re.split(r" {3,}", match[1])[0]
            yield shlex.split(shown, comments=True)


def check_command(arguments: list[str], *, whole: bool = True) -> None:
    """Raise `click.UsageError` unless this command line could be followed.

    One with placeholders, or not `whole`: unless its commands and options exist.
    """
    command: click.Command = main
    words = list(arguments)
    while isinstance(command, click.Group) and words:
        name = words.pop(0)
        child = command.commands.get(name)
        if child is None:
            raise click.UsageError(f"no such command: {' '.join(arguments)}")
        command = child
    if whole and not set("".join(words)) & set("<[…|"):
        command.make_context("feedmill", words)
        return
    options = {option for parameter in command.params for option in parameter.opts}
    for word in re.findall(r"--[a-z-]+", " ".join(words)):
        if word not in options:
            raise click.UsageError(f"no such option: {word}")


@pytest.mark.parametrize("command", list(leaves(main)), ids=" ".join)
def test_every_command_is_documented(command: tuple[str, ...]) -> None:
    assert command in set().union(*(named_commands(page.read_text("utf-8")) for page in PAGES))


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    lines = list(command_lines(page.read_text("utf-8")))
    assert lines
    for arguments in lines:
        for words in itertools.product(*(word.split("|") for word in arguments[:2])):
            check_command([*words, *arguments[2:]], whole="|" not in "".join(arguments))


@pytest.mark.parametrize("wrong", ["nonsense", "config fetch", "feed global --upside-down"])
def test_a_command_that_does_not_exist_is_found(wrong: str) -> None:
    with pytest.raises(click.UsageError):
        check_command(wrong.split())


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_what_is_made_can_be_made(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    lines = re.findall(r"^(?:    )?make ([a-z ]+)", text_of(page), re.MULTILINE)
    made = {word for line in lines for word in line.split()}
    assert made
    assert made <= targets


# --- environment ----------------------------------------------------------------------------


def variables_in_code() -> set[str]:
    written = {name for text in sources() for name in re.findall(r"FEEDMILL_[A-Z_]*[A-Z]\b", text)}
    return written | {f"FEEDMILL_KAFKA_{name.upper()}" for name in _SECURITY}


def variables_in_table() -> dict[str, str]:
    """By variable what the table says of its default."""
    rows = re.findall(r"^\| `(FEEDMILL_\w+)` \| ([^|]*) \|", text_of("docs/operating.md"), re.M)
    return dict(rows)


def test_every_variable_is_documented() -> None:
    internal = {"FEEDMILL_STATUS_FD"}
    assert internal <= variables_in_code()
    assert variables_in_code() - internal == set(variables_in_table())
    for name in internal | {"FEEDMILL_TEST_KAFKA", "FEEDMILL_TEST_REDIS"}:
        assert f"`{name}`" in text_of("docs/operating.md")


def test_documented_defaults_are_the_defaults() -> None:
    said = variables_in_table()
    defaults = {field.name: field.default for field in dataclasses.fields(Environment)}
    for name in ("kafka", "redis", "host"):
        assert said[f"FEEDMILL_{name.upper()}"] == f"`{defaults[name]}`"
    for name in ("batch_records", "session_timeout_ms"):
        assert said[f"FEEDMILL_{name.upper()}"] == str(defaults[name])
    assert (defaults["port"], said["FEEDMILL_PORT"]) == (None, "none")


# --- contracts ------------------------------------------------------------------------------


def contract_rows() -> dict[str, list[str]]:
    """The rows of every table of the contracts by their first cell."""
    rows = re.findall(r"^\| (.*) \|$", text_of("docs/contracts.md"), re.MULTILINE)
    cells = [re.split(r"(?<!\\) \| ", row) for row in rows]
    return {row[0].strip("`"): row[1:] for row in cells}


@pytest.mark.parametrize("spec", topic_table(["<name>"]), ids=lambda spec: spec.name)
def test_topics_are_as_documented(spec: TopicSpec) -> None:
    _, _, partitions, cleanup, _, _ = contract_rows()[spec.name]
    assert partitions == str(spec.partitions)
    policies = spec.settings["cleanup.policy"].split(",")
    if spec.name != "config":
        assert all(policy in cleanup for policy in policies)
        assert ("compact" in cleanup) == ("compact" in policies)
    # A sentence below the table says so of all.
    assert spec.settings["message.timestamp.type"] == "LogAppendTime"


def test_settings_have_the_documented_defaults() -> None:
    rows, settings = contract_rows(), Settings(SignalNames())
    weights = json.loads(rows["weights`, `weights/<feed>"][0].strip("`"))
    assert weights == settings.weights_of("").as_dict()
    gate = re.search(r'"<gate>": ({.*?})', rows["gates`, `gates/<feed>"][0])
    assert gate is not None
    assert json.loads(gate[1]) == msgspec.structs.asdict(GatePolicy())
    feed = json.loads(rows["feeds/<name>"][0].strip("`").replace("[…]", "[]"))
    spec = settings.feed_of("global")
    assert spec is not None
    assert (feed["size"], feed["window_hours"], feed["include_replies"]) == (
        spec.size,
        spec.window_hours,
        spec.include_replies,
    )


def test_the_table_of_stages_is_the_codes() -> None:
    docstring = feedmill.streams.stages.flow.__doc__ or ""
    table = docstring.split("\n\n")[1]
    assert table in text_of("docs/architecture.md")


# --- what is generated, and links -----------------------------------------------------------


def test_the_page_of_metrics_is_current() -> None:
    assert text_of("docs/metrics.md") == metrics_doc.page(), "make format writes it anew"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.is_relative_to(ROOT), target
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_the_lock_names_no_host_and_no_path() -> None:
    lock = text_of("requirements.lock")
    assert not re.findall(r"(?m)://|^-|@ file|\.whl", lock)
    pinned = re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE)
    assert len(pinned) == lock.count("==") - lock.count(" == ")
    assert lock.count("--hash=sha256:") > len(pinned)
