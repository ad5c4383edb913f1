"""Tokens: who is let in, how often, and what becomes of a file that changes."""

import json
import logging
from hashlib import sha256
from pathlib import Path

import pytest

from feedmill.events.errors import UsageError
from feedmill.readers.web import Holder, Tokens
from feedmill.streams.tokens import OPERATOR, READER, Token, TokenFile

WEB = sha256(b"web-secret").hexdigest()


def reader(per_second: float) -> Holder:
    return Holder(Token("web", READER, WEB, per_second))


def test_a_rate_is_kept() -> None:
    holder = reader(2.0)
    assert [holder.may_ask(10.0) for _ in range(3)] == [True, True, False]
    assert holder.may_ask(10.5)
    assert not holder.may_ask(10.6)
    slow = reader(0.5)
    assert slow.may_ask(10.0)
    assert not slow.may_ask(11.0)
    assert slow.may_ask(12.1)


def test_a_changed_file_counts_and_a_wrong_one_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = TokenFile(tmp_path / "tokens")
    web = file.add("web", READER, 10)
    tokens = Tokens(file.path)
    held = tokens.holder(f"Bearer {web}")
    assert held is not None
    assert held is tokens.holder(f"bearer  {web} ")
    digest = sha256(web.encode()).hexdigest()
    for header in (
        "",
        "Bearer",
        f"Basic {web}",
        "Bearer app-secret",
        f"Bearer {digest}",
        "Bearer \udcff",
    ):
        assert tokens.holder(header) is None
    app = file.add("app", READER, 1)
    tokens.look()
    assert tokens.holder(f"Bearer {web}") is held, "its rate does not begin anew"
    assert tokens.holder(f"Bearer {app}") is not None
    file.remove("web")
    tokens.look()
    assert tokens.holder(f"Bearer {web}") is None
    file.path.write_text("app")
    with caplog.at_level(logging.WARNING):
        tokens.look()
        tokens.look()
    assert [str(file.path) in said for said in caplog.messages] == [True]
    assert tokens.trouble and tokens.holder(f"Bearer {app}") is not None
    file.path.unlink()
    tokens.look()
    assert tokens.trouble and tokens.holder(f"Bearer {app}") is not None


def test_the_last_token_that_is_removed_counts_no_more(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens")
    web = file.add("web", READER, 10)
    tokens = Tokens(file.path)
    file.remove("web")
    tokens.look()
    assert (tokens.holder(f"Bearer {web}"), tokens.trouble) == (None, "")


def test_who_signs_in_to_the_console_asks_no_reader(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens")
    ann = file.add("ann", OPERATOR)
    with pytest.raises(UsageError, match="no token of the role reader"):
        Tokens(file.path)
    file.add("web", READER, 5)
    assert Tokens(file.path).holder(f"Bearer {ann}") is None


def test_lines_of_the_format_before_are_refused_with_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"web {WEB} 500\n")
    file.chmod(0o600)
    with pytest.raises(UsageError) as refused:
        Tokens(file)
    said = str(refused.value)
    assert str(file) in said and "feedmill token add" in said
    assert WEB not in said
    row = json.loads(said[said.index("{") : said.index("}") + 1])
    file.write_text(json.dumps([{**row, "sha256": WEB}]))
    holder = Tokens(file).holder("Bearer web-secret")
    assert holder is not None
    assert (holder.token.name, holder.per_second) == ("web", 500.0)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: No such file"):
        Tokens(tmp_path / "nowhere")
