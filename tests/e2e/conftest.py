"""Engines for the end-to-end tests: one that tests share, and fresh ones for what kills."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builders.engine import WORKER, Engine

EngineFactory = Callable[..., Engine]


def _factory(stack: Any, folder: Path) -> Iterator[EngineFactory]:
    made: list[Engine] = []

    def make(*workers: str, signals: str = "", **variables: str) -> Engine:
        """Start these workers under fresh prefixes and wait until they are ready."""
        prefix = f"e{uuid.uuid4().hex[:6]}."
        own = folder / prefix.rstrip(".")
        own.mkdir()
        engine = Engine(stack.kafka, stack.redis, prefix, own, signals, variables)
        made.append(engine)
        engine.start(*workers)
        engine.wait_ready()
        return engine

    try:
        yield make
    finally:
        for engine in made:
            engine.stop()


@pytest.fixture
def start_engine(stack: Any, tmp_path: Path) -> Iterator[EngineFactory]:
    """Starts engines of this test alone."""
    yield from _factory(stack, tmp_path)


@pytest.fixture(scope="module")
def combiner_alone(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A worker that only ranks, without models: the tests write the signals themselves."""
    for make in _factory(stack, tmp_path_factory.mktemp("combiner")):
        yield make("combiner")


@pytest.fixture(scope="module")
def spam_and_combiner(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A worker of one filter and the combiner, shared by the tests of a module."""
    for make in _factory(stack, tmp_path_factory.mktemp("spam")):
        yield make("spam+combiner")


@pytest.fixture(scope="session")
def whole_engine(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A worker of all stages with their shipped models, shared by the tests that kill nothing."""
    for make in _factory(stack, tmp_path_factory.mktemp("whole")):
        yield make(WORKER)
