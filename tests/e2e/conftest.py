"""Engines for the end-to-end tests: those of one test, and those that a file shares."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from builders.engine import Engine, made_engines
from builders.scratch import scratch_folder

EngineFactory = Callable[..., Engine]


def _start(make: EngineFactory, *workers: str, signals: str = "", **more: Any) -> Engine:
    """Start these workers under fresh prefixes, with these variables, and wait for them."""
    redis = {"redis": more.pop("redis_url")} if "redis_url" in more else {}
    engine = make(signals=signals, variables=more, **redis)
    engine.start(*workers)
    engine.wait_ready()
    return engine


if os.environ.get("SECURED_TESTS"):

    @pytest.fixture(scope="session")
    def stack() -> Iterator[Any]:
        """Servers at which each worker signs in with the rights of its role alone."""
        from builders.secured_stack import SecuredStack  # noqa: PLC0415 - of that run alone

        folder = scratch_folder("feedmill-secured-")
        secured = SecuredStack(folder / "servers")
        yield secured
        secured.close()
        shutil.rmtree(folder)


@pytest.fixture
def make_engine(
    request: pytest.FixtureRequest, stack: Any, tmp_path: Path
) -> Iterator[EngineFactory]:
    """Makes engines of this test alone; no worker runs yet, and `own_redis` outlives them."""
    if "own_redis" in request.fixturenames:
        request.getfixturevalue("own_redis")
    with made_engines(stack.kafka, stack.redis, tmp_path) as make:
        yield partial(make, sign_in=getattr(stack, "sign_in", None))


@pytest.fixture
def start_engine(make_engine: EngineFactory) -> EngineFactory:
    """Starts engines of this test alone."""
    return partial(_start, make_engine)


@pytest.fixture(scope="module")
def start_shared_engine(
    stack: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineFactory]:
    """Starts engines that the tests of a file share."""
    with made_engines(stack.kafka, stack.redis, tmp_path_factory.mktemp("shared")) as make:
        yield partial(_start, partial(make, sign_in=getattr(stack, "sign_in", None)))
