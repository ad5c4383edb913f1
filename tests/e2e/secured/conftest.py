"""A secured Kafka and Redis for the tests of this folder, and engines with the table's rights."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builders.engine import STAGES, Engine
from builders.secured_stack import SecuredStack
from feedmill.streams.environment import declared_signals

JUDGE, RANKER = "+".join(STAGES[:-1]), STAGES[-1]
SIGNALS = declared_signals("").all
SecuredEngine = Callable[..., Engine]


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredStack]:
    stack = SecuredStack(tmp_path_factory.mktemp("secured") / "stack")
    yield stack
    stack.close()


def _started(secured: SecuredStack, folder: Path) -> Iterator[SecuredEngine]:
    made: list[Engine] = []

    def start(**workers: str) -> Engine:
        """Start a worker for each role: its user is named by role and prefix, `judge-s1a2b3c`."""
        prefix = f"s{uuid.uuid4().hex[:6]}."
        engine = Engine(secured.kafka, secured.redis_url, prefix, folder)
        made.append(engine)
        for role, stages in workers.items():
            user = f"{role}-{prefix[:-1]}"
            secured.add_user(user)
            secured.grant(user, prefix, [role], SIGNALS)
            engine.variables = secured.variables(user)
            engine.start(stages)
        engine.wait_ready(seconds=120)
        return engine

    try:
        yield start
    finally:
        for engine in made:
            engine.stop()


@pytest.fixture
def secured_engine(secured: SecuredStack, tmp_path: Path) -> Iterator[SecuredEngine]:
    """Starts engines of this test alone."""
    yield from _started(secured, tmp_path)


@pytest.fixture(scope="module")
def shared_engine(
    secured: SecuredStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """A judge and a ranker that the tests of a file share."""
    for start in _started(secured, tmp_path_factory.mktemp("engine")):
        yield start(judge=JUDGE, ranker=RANKER)
