"""The docs agree with the code: commands, variables, metrics, topics, settings, names and links."""

import dataclasses
import itertools
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import msgspec
import pytest

import feedmill.streams.flow
from builders import metrics_page
from builders.command_tree import leaves
from feedmill.cli.main import main
from feedmill.events.decode import decode_engagement, decode_post
from feedmill.events.engagement import Engagement
from feedmill.events.feeds import FeedMatch, FeedSpec
from feedmill.events.gates import GatePolicy
from feedmill.events.instance import Instance
from feedmill.events.label import Label
from feedmill.events.override import Override
from feedmill.events.post import Post
from feedmill.events.rules import Rule
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal, SignalNames
from feedmill.filters.registry import FILTERS
from feedmill.rankers.registry import RANKERS
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_table import TopicSpec, topic_table
from feedmill.streams.observe.metric_list import METRICS
from feedmill.streams.security import CLIENT_SETTINGS, REDIS_FILES, SECRET_FILES, variable_of

ROOT = Path(__file__).parents[1]
CODE = (
    *("events", "features", "models", "filters", "rankers", "training", "streams", "simulation"),
    *("operations", "readers", "console", "deploy", "cli", "benchmarks", "examples"),
)
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
OPERATOR = "docs/operating/operator.md"
WITH_COMMANDS = [
    ROOT / page
    for page in (
        *("README.md", "docs/contracts.md", "docs/own_signals.md", OPERATOR),
        *("docs/operating/moderator.md", "docs/operating/trainer.md", "docs/operating/console.md"),
        *(f"docs/journeys/{page.name}" for page in (ROOT / "docs/journeys").glob("[a-z]*.md")),
    )
]


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


@cache
def sources() -> list[str]:
    paths = (path for folder in CODE for path in (ROOT / folder).rglob("*.py"))
    return [path.read_text("utf-8") for path in paths]


# --- commands -------------------------------------------------------------------------------


CONTEXT = click.Context(main)


def subcommand(group: click.Group, name: str) -> click.Command:
    command = group.get_command(CONTEXT, name)
    if command is None:
        raise click.UsageError(f"no such command: {name}")
    return command


def named_commands(text: str) -> set[tuple[str, ...]]:
    """`feedmill config get|set` names (config, get) and (config, set); words are three at most."""
    found: set[tuple[str, ...]] = set()
    word = r"([a-z][a-z|-]*)"
    for match in re.finditer(rf"feedmill {word}(?: {word}(?: {word})?)?", text):
        words = [word.split("|") for word in match.groups() if word]
        for end in range(1, len(words) + 1):
            found.update(itertools.product(*words[:end]))
    return found


def command_lines(text: str) -> Iterator[list[str]]:
    """The arguments of each `feedmill …` that stands in a block of code."""
    for line in text.splitlines():
        match = re.match(r"    (?:[A-Z_]+=\S* )*(?:\S*/)?feedmill +([a-z].*)", line)
        if match:
            shown = re.split(r" {3,}| > ", match[1])[0]
            yield shlex.split(shown, comments=True)


def check_command(arguments: list[str], *, whole: bool = True) -> None:
    """Raise `click.UsageError` unless this command line could be followed.

    One with placeholders, or not `whole`: unless its commands and options exist.
    """
    command: click.Command = main
    words = list(arguments)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = subcommand(command, words.pop(0))
    if whole and not set("".join(words)) & set("<[…|"):
        command.make_context("feedmill", words)
        return
    options = {option for parameter in command.params for option in parameter.opts}
    for word in re.findall(r"--[a-z-]+", " ".join(words)):
        if word not in options:
            raise click.UsageError(f"no such option: {word}")


def test_every_command_is_documented() -> None:
    documented = set().union(*(named_commands(page.read_text("utf-8")) for page in PAGES))
    assert {tuple(words.split()) for words in leaves(main)} - documented == set()


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
def test_the_commands_of_a_page_exist(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sample").mkdir()
    Path("sample/domains.txt").touch()
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
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    lines = re.findall(r"^(?:    )?make ([a-z -]+)", text_of(page), re.MULTILINE)
    made = {word for line in lines for word in line.split()}
    assert made
    assert made <= targets


# --- environment ----------------------------------------------------------------------------


def variables_in_code() -> set[str]:
    written = {name for text in sources() for name in re.findall(r"FEEDMILL_[A-Z_]*[A-Z]\b", text)}
    attributes = {field.name for field in dataclasses.fields(Environment)}
    attributes -= {"instance_is_given", "security", "secret_files"}
    attributes |= {f"kafka_{name}" for name in CLIENT_SETTINGS} | {*REDIS_FILES}
    attributes |= {f"{name}_file" for name in SECRET_FILES}
    return written | {variable_of(name) for name in attributes}


def variables_in_table() -> dict[str, str]:
    """By variable what the table says of its default."""
    rows = re.findall(r"^\| `(FEEDMILL_\w+)` \| ([^|]*) \|", text_of(OPERATOR), re.M)
    return dict(rows)


def test_every_variable_is_documented() -> None:
    internal = {"FEEDMILL_STATUS_FD"}
    assert internal <= variables_in_code()
    assert variables_in_code() - internal == set(variables_in_table())
    for name in internal | {"FEEDMILL_TEST_KAFKA", "FEEDMILL_TEST_REDIS"}:
        assert f"`{name}`" in text_of(OPERATOR)


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
    if spec.name not in ("config", "models"):
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


def test_no_other_topic_is_documented() -> None:
    table = text_of("docs/contracts.md").partition("| topic |")[2].partition("\n\n")[0]
    documented = set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE))
    assert documented == {spec.name for spec in topic_table(["<name>"])}


@pytest.mark.parametrize(
    ("setting", "fields"),
    [
        ("weights`, `weights/<feed>", set(Settings(SignalNames()).weights_of("").as_dict())),
        ("gates`, `gates/<feed>", set(GatePolicy.__struct_fields__)),
        ("feeds/<name>", {*FeedSpec.__struct_fields__, *FeedMatch.__struct_fields__}),
        ("rules/<filter>", set(Rule.__struct_fields__)),
    ],
    ids=["weights", "gates", "feeds", "rules"],
)
def test_every_field_of_a_setting_is_documented(setting: str, fields: set[str]) -> None:
    row = " ".join(contract_rows()[setting])
    assert fields <= set(re.findall(r"[`\"](\w+)[`\"]", row))


@pytest.mark.parametrize(
    "event", [Post, Engagement, Signal, Override, Label, Instance], ids=lambda event: event.__name__
)
def test_every_field_of_an_event_is_documented(event: type[msgspec.Struct]) -> None:
    named = set(re.findall(r"[`\"](\w+)[`\"]", text_of("docs/contracts.md")))
    assert set(event.__struct_fields__) <= named


@pytest.mark.parametrize("page", ["README.md", "docs/concepts.md"])
def test_the_events_of_a_page_are_valid(page: str) -> None:
    examples = re.findall(r"^    (\{\"post_id\".*\})$", text_of(page), re.MULTILINE)
    assert examples
    for example in examples:
        key = json.loads(example)["post_id"].encode()
        decode = decode_engagement if '"kind"' in example else decode_post
        decode(key, example.encode())


def test_every_filter_and_every_ranker_has_a_page() -> None:
    headings = re.findall(r"^## (.+)$", text_of("docs/filters.md"), re.MULTILINE)
    assert set(FILTERS) <= set(headings)
    cards = {page.stem for page in (ROOT / "docs/models").glob("*.md")}
    assert {*FILTERS, *RANKERS} == cards


def test_the_metrics_of_the_pages_exist() -> None:
    known = {metric.name for metric in METRICS}
    for page in PAGES:
        named = set(re.findall(r"`(feedmill_[a-z_]+)", page.read_text("utf-8")))
        assert named <= known, page


def test_the_table_of_stages_is_the_codes() -> None:
    docstring = feedmill.streams.flow.__doc__ or ""
    table = docstring.split("\n\n")[1]
    assert table in text_of("docs/architecture.md")


# --- names of the code, and the terms -------------------------------------------------------

# What feedmill called these things once, and what it calls them now.
FORMER_TERMS = {
    r"lens(es)?": "feed scores, gate decisions, policy cache",
    r"lettered|letters? what|to letter": "to write a dead letter",
    r"judg(e|es|ed|ing) again": "rule backfill",
    r"flagged shares?": "hide rate",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_and_classes_of_a_page_exist(page: Path) -> None:
    for name in re.findall(r"`([\w./-]+)`", page.read_text("utf-8")):
        if re.fullmatch(r"[\w-]+(/[\w-]+)+\.(py|md|txt|lua)", name):
            assert (ROOT / name).exists(), name
        elif re.fullmatch(r"([A-Z][a-z]+){2,}", name) and page.name == "architecture.md":
            assert any(re.search(rf"^ *class {name}\b", text, re.M) for text in sources()), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_uses_the_present_terms(page: Path) -> None:
    text = page.read_text("utf-8").lower()
    found = {term: now for term, now in FORMER_TERMS.items() if re.search(rf"\b({term})\b", text)}
    assert found == {}


def test_every_decision_is_listed_by_its_subject() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = {page.name for page in folder.glob("*.md")} - {"README.md"}
    rows = re.findall(
        r"^\| \[[^\]]+\]\(([^)]+)\) \| .+ \|$", text_of("docs/decisions/README.md"), re.M
    )
    assert sorted(rows) == sorted(pages)
    assert all(re.fullmatch(r"[a-z-]+\.md", name) for name in pages), (
        "named by subject, not by number"
    )


def test_the_pages_that_code_names_exist() -> None:
    named = {name for text in sources() for name in re.findall(r"\bdocs/[\w./-]+\.md\b", text)}
    assert any(name.startswith("docs/decisions/") for name in named)
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_page_of_metrics_is_current() -> None:
    assert text_of("docs/metrics.md") == metrics_page.page(), "make format writes it anew"


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


def links_of(page: Path) -> set[Path]:
    """The files of the repository to which a page links."""
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
    paths = ((page.parent / target).resolve() for target in targets if ":" not in target)
    return {path / "README.md" if path.is_dir() else path for path in paths}


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = {ROOT / "README.md"}
    while ahead:
        page = ahead.pop()
        reached.add(page)
        ahead |= {path for path in links_of(page) if path.suffix == ".md"} - reached
    assert set(PAGES) <= reached


def test_the_readme_lists_the_pages_of_its_readers_and_operators() -> None:
    """Every page directly under `docs/` is linked from the table."""
    table = ROOT / "README.md"
    rows = [line for line in table.read_text("utf-8").splitlines() if line.startswith("| [")]
    linked = {
        (ROOT / target).resolve() for row in rows for target in re.findall(r"\]\(([^)#]+)", row)
    }
    linked = {path / "README.md" if path.is_dir() else path for path in linked}
    pages = set((ROOT / "docs").glob("*.md"))
    assert pages <= linked, sorted(path.name for path in pages - linked)


def test_contributing_names_the_folders_that_there_are() -> None:
    layout = text_of("CONTRIBUTING.md").partition("## Layout")[2].partition("events <-")[0]
    folder, named = ROOT, set[Path]()
    for line in layout.splitlines():
        if begins := re.match(r"    (\w+)/ ", line):
            folder = ROOT / begins[1]
            named.add(folder)
        for name in re.findall(r"(?<![\w/])([a-z_]+)/", line):
            named.add(ROOT / name if (ROOT / name).is_dir() else folder / name)
    assert [path for path in sorted(named) if not path.is_dir()] == []
    rooms = {path.parent for path in ROOT.glob("*/__init__.py")}
    assert rooms <= named, "a folder that CONTRIBUTING does not name"


def test_the_lock_names_no_host_and_no_path() -> None:
    lock = text_of("requirements.lock")
    assert not re.findall(r"(?m)://|^-|@ file|\.whl", lock)
    pinned = re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE)
    assert len(pinned) == lock.count("==") - lock.count(" == ")
    assert lock.count("--hash=sha256:") > len(pinned)


def test_the_version_is_the_changelogs() -> None:
    [version] = re.findall(
        r'^version = "(\d+\.\d+)\.\d+"', (ROOT / "pyproject.toml").read_text(), re.M
    )
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"this page says what {version}, the version of this code, is" in changelog
    assert f"\nVersion {version}," in (ROOT / "README.md").read_text()
