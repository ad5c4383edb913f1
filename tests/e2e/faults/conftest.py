"""An engine for each test of a fault."""

from collections.abc import Callable

import pytest

from builders.engine import Engine


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    """An engine on the shared servers; no worker runs yet."""
    return make_engine()
