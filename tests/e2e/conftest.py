"""Engines for the end-to-end tests: those of one test, and those that a file shares."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builders.engine import Engine

EngineFactory = Callable[..., Engine]


def _factory(stack: Any, folder: Path) -> Iterator[EngineFactory]:
    made: list[Engine] = []

    def make(*workers: str, signals: str = "", redis_url: str = "", **variables: str) -> Engine:
        """Start these workers under fresh prefixes and wait until they are ready."""
        prefix = f"e{uuid.uuid4().hex[:6]}."
        own = folder / prefix.rstrip(".")
        own.mkdir()
        engine = Engine(stack.kafka, redis_url or stack.redis, prefix, own, signals, variables)
        engine.sign_in = getattr(stack, "sign_in", None)
        made.append(engine)
        engine.start(*workers)
        engine.wait_ready()
        return engine

    try:
        yield make
    finally:
        for engine in made:
            engine.stop()


if os.environ.get("SECURED_TESTS"):

    @pytest.fixture(scope="session")
    def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
        """Servers at which each worker signs in with the rights of its role alone."""
        from builders.secured_stack import SecuredStack  # noqa: PLC0415 - of that run alone

        secured = SecuredStack(tmp_path_factory.mktemp("stack") / "servers")
        yield secured
        secured.close()


@pytest.fixture
def start_engine(stack: Any, tmp_path: Path) -> Iterator[EngineFactory]:
    """Starts engines of this test alone."""
    yield from _factory(stack, tmp_path)


@pytest.fixture(scope="module")
def start_shared_engine(
    stack: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineFactory]:
    """Starts engines that the tests of a file share."""
    yield from _factory(stack, tmp_path_factory.mktemp("shared"))
