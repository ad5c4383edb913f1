import stat
from pathlib import Path

import pytest

from feedmill.console.tokens import TokenFile
from feedmill.events.errors import UsageError


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
    with pytest.raises(UsageError, match="`ann` has a token already"):
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
    path.write_text('{"ann": 1}', "utf-8")
    with pytest.raises(UsageError, match="remove it and add the tokens again"):
        tokens.read()
