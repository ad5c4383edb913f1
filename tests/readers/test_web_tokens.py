"""Tokens: who is let in, how often, and what becomes of a file that changes."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from feedmill.events.errors import UsageError
from feedmill.readers.web import Holder, Tokens

WEB = sha256(b"web-secret").hexdigest()
APP = sha256(b"app-secret").hexdigest()


def test_a_rate_is_kept() -> None:
    holder = Holder("web", 2.0)
    assert [holder.may_ask(10.0) for _ in range(3)] == [True, True, False]
    assert holder.may_ask(10.5)
    assert not holder.may_ask(10.6)
    slow = Holder("slow", 0.5)
    assert slow.may_ask(10.0)
    assert not slow.may_ask(11.0)
    assert slow.may_ask(12.1)


def test_a_changed_file_counts_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# who\nweb {WEB} 10\n")
    tokens = Tokens(file)
    assert tokens.holder("Bearer web-secret") is not None
    assert tokens.holder("bearer  web-secret ") is not None
    for header in ("", "Bearer", "Basic web-secret", "Bearer app-secret", f"Bearer {WEB}"):
        assert tokens.holder(header) is None
    file.write_text(f"app {APP} 1\n")
    os.utime(file, ns=(1, 1))
    tokens.look()
    assert tokens.holder("Bearer web-secret") is None
    assert tokens.holder("Bearer app-secret") is not None
    file.write_text("app")
    tokens.look()
    assert "line 1" in tokens.trouble
    assert tokens.holder("Bearer app-secret") is not None
    file.unlink()
    tokens.look()
    assert tokens.holder("Bearer app-secret") is not None


@pytest.mark.parametrize(
    "text", ["", "web\n", f"web {WEB} 0\n", "web secret 5\n", f"a {WEB} 1\nb {WEB} 2\n"]
)
def test_a_wrong_file_is_refused_without_its_text(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    with pytest.raises(UsageError) as refused:
        Tokens(file)
    assert "sha256" in str(refused.value)
    assert "secret" not in str(refused.value)
