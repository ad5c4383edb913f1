"""`feedmill lists build` makes a list of a file or nothing, and `list` shows what is in force."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from builders.commands import Run
from feedmill.events.post import Post
from feedmill.filters.list_store import read_list
from feedmill.filters.lists import ListSet

pytestmark = pytest.mark.stack

CARD = "--source 'our own' --licence CC0-1.0 --date 2026-11-26"
Build = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    monkeypatch.setenv("FEEDMILL_MODELS", str(folder))
    return folder


@pytest.fixture
def build(run: Run, tmp_path: Path, store: Path) -> Build:
    """Build a list of spam from a text."""

    def build_list(text: str, name: str = "bad", kind: str = "domains", more: str = "") -> Result:
        path = tmp_path / "entries.txt"
        path.write_text(text)
        given = f"--filter spam --name {name} --kind {kind} --verdict hide {CARD} {more}"
        return run(f"lists build {path} {given}")

    return build_list


def test_a_list_is_built_once_for_the_same_entries(build: Build, store: Path) -> None:
    card = json.loads(build("b.example\na.example\n", more="--json").stdout)
    again = json.loads(build("# x\nwww.A.example\nb.example\na.example", more="--json").stdout)
    assert card == again
    assert (card["entries"], card["source"], card["licence"]) == (2, "our own", "CC0-1.0")
    assert (card["date"], card["version"]) == ("2026-11-26", card["sha256"][:12])
    found = ListSet([read_list(store, "spam", "bad", card["sha256"])])
    texts = ("see x.b.example", "see c.example")
    matches = found.verdicts([Post("p", "a", 0, text) for text in texts])
    assert [match is not None for match in matches] == [True, False]
    names = {f"{card['sha256']}.npz", f"list.spam.bad@{card['version']}.json"}
    assert {path.name for path in store.iterdir()} == names


def test_nothing_is_written_where_a_line_is_wrong(
    build: Build, store: Path, tmp_path: Path
) -> None:
    result = build("a.example\nhttps://b.example\n")
    assert result.exit_code == 1
    assert f"{tmp_path}/entries.txt, line 2: expected a domain" in result.stderr
    assert not any(store.iterdir())


def test_a_list_can_be_built_into_another_store(build: Build, store: Path, tmp_path: Path) -> None:
    result = build("ann\n", "friends", "authors", f"--out {tmp_path}/other")
    assert "list spam/friends" in result.stdout
    assert not any(store.iterdir())
    assert len(list((tmp_path / "other").iterdir())) == 2


def test_without_a_store_nothing_is_built(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEEDMILL_MODELS")
    result = build("a.example\n")
    assert result.exit_code == 1
    assert "set FEEDMILL_MODELS" in result.stderr
