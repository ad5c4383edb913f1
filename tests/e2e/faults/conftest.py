"""Engines for the tests of faults: every test makes and breaks its own."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builders.fault_engine import FaultEngine

FaultEngineFactory = Callable[..., FaultEngine]


@pytest.fixture
def fault_engine(
    request: pytest.FixtureRequest, stack: Any, tmp_path: Path
) -> Iterator[FaultEngineFactory]:
    """Makes engines on fresh prefixes; no worker runs yet, and `own_redis` outlives them."""
    if "own_redis" in request.fixturenames:
        request.getfixturevalue("own_redis")
    made: list[FaultEngine] = []

    def make(*, kafka: str = "", redis: str = "", signals: str = "") -> FaultEngine:
        prefix = f"f{uuid.uuid4().hex[:6]}."
        folder = tmp_path / prefix.rstrip(".")
        folder.mkdir()
        engine = FaultEngine(kafka or stack.kafka, redis or stack.redis, prefix, folder, signals)
        made.append(engine)
        return engine

    try:
        yield make
    finally:
        for engine in made:
            engine.stop()


@pytest.fixture
def engine(fault_engine: FaultEngineFactory) -> FaultEngine:
    """An engine on the shared servers; no worker runs yet."""
    return fault_engine()
