import json
import os
import stat
from pathlib import Path

import pytest

from feedmill.events.errors import UsageError
from feedmill.streams.tokens import READER, ROLES, TokenFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "tokens.json"


def test_the_file_has_hashes_that_only_its_owner_reads(path: Path) -> None:
    token = TokenFile(path).add("ann", "moderator")
    assert token not in path.read_text("utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [(one.name, one.role) for one in TokenFile(path).read()] == [("ann", "moderator")]
    assert TokenFile(path).add("bob", "viewer") != token
    TokenFile(path).remove("ann")
    assert [one.name for one in TokenFile(path).read()] == ["bob"]
    assert [file.name for file in path.parent.iterdir()] == ["tokens.json"]


def test_names_are_given_once_and_removed_once(path: Path) -> None:
    tokens = TokenFile(path)
    tokens.add("ann", "viewer")
    with pytest.raises(UsageError, match="`ann` has a token; `feedmill token remove`"):
        tokens.add("ann", "operator")
    with pytest.raises(UsageError, match="`bob` has no token"):
        tokens.remove("bob")
    for name in ("", " ", "a\nb", "x" * 65):
        with pytest.raises(UsageError, match="expected 1 to 64 printable letters"):
            tokens.add(name, "viewer")


def test_a_file_that_others_read_is_refused_and_so_is_a_broken_one(path: Path) -> None:
    tokens = TokenFile(path)
    tokens.add("ann", "viewer")
    path.chmod(0o640)
    with pytest.raises(UsageError, match=f"chmod 600 {path}"):
        tokens.read()
    path.chmod(0o600)
    assert len(tokens.read()) == 1
    path.write_text('{"ann": 1}', "utf-8")
    with pytest.raises(UsageError, match="remove it and add the tokens again"):
        tokens.read()


def test_a_secret_that_a_platform_mounts_for_the_group_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = TokenFile(path)
    tokens.add("ann", "viewer")
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    path.chmod(0o440)
    assert len(tokens.read()) == 1
    for mode in (0o460, 0o444, 0o442, 0o450):
        path.chmod(mode)
        with pytest.raises(UsageError, match="others than its owner"):
            tokens.read()


def test_readers_have_a_rate_and_nobody_else(path: Path) -> None:
    tokens = TokenFile(path)
    tokens.add("web", READER, 0.5)
    tokens.add("ann", "operator")
    assert [(one.name, one.per_second) for one in tokens.read()] == [("web", 0.5), ("ann", None)]
    assert [one.name for one in tokens.people()] == ["ann"]
    for rate in (None, 0, -1, 2e6, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="rate: expected"):
            tokens.add("app", READER, rate)
    for role in ROLES:
        with pytest.raises(UsageError, match="none of anybody else"):
            tokens.add("bob", role, 5)
    assert [one.name for one in tokens.read()] == ["web", "ann"]


ROW = {"name": "ann", "role": "viewer", "sha256": "0" * 64}


@pytest.mark.parametrize(
    "rows",
    [
        [{**ROW, "role": "s3cret"}],
        [{**ROW, "sha256": "s3cret"}],
        [{**ROW, "sha256": "\u00e9" * 64}],
        [{**ROW, "role": READER}],
        [{**ROW, "per_second": 5}],
        [ROW, {**ROW, "name": "bob"}],
        [ROW, {**ROW, "sha256": "1" * 64}],
        [{"name": "ann"}],
        ROW,
    ],
)
def test_a_file_that_was_changed_by_hand_is_refused_without_its_text(
    path: Path, rows: object
) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps(rows), "utf-8")
    path.chmod(0o600)
    with pytest.raises(UsageError) as refused:
        TokenFile(path).read()
    assert str(path) in str(refused.value)
    assert "s3cret" not in str(refused.value) and "0" * 64 not in str(refused.value)
