from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from builders.commands import CommandTopics
from builders.console_client import ConsoleClient
from builders.running_console import ConsoleOf, running
from feedmill.console.access import Access
from feedmill.deploy.local import StackAddress
from feedmill.operations import changes
from feedmill.streams.environment import Environment
from feedmill.streams.tokens import ROLES, TokenFile

People = dict[str, ConsoleClient]


@pytest.fixture
def environment(stack: StackAddress, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """The servers of the tests, under the prefix of this test."""
    monkeypatch.setattr(changes, "_VISIBLE_S", 60.0)
    return Environment(stack.kafka, stack.redis, prefix, prefix)


@pytest.fixture
def topics_made(topics: CommandTopics) -> None:
    """The topics that pages read and write."""
    topics.make("config", "overrides", "instances", "audit", "models", "labels", posts=2)


@pytest.fixture
def open_console(
    environment: Environment, topics_made: None, tmp_path: Path
) -> Iterator[Callable[..., People]]:
    """Serve a console with some parts in place of its own; return somebody of each role."""
    with ExitStack() as served:

        def serve(given: Mapping[type[Any], Any] | None = None) -> People:
            tokens = TokenFile(tmp_path / "tokens.json")
            console = ConsoleOf(environment, Access(tokens), given)
            first = served.enter_context(running(console))
            people = {}
            for role in ROLES:
                people[role] = ConsoleClient(first.port)
                assert people[role].sign_in_by_token(tokens.add(f"a {role}", role))
            return people

        yield serve
