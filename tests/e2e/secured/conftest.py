from collections.abc import Iterator

import pytest

from builders.secured_stack import SecuredStack


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredStack]:
    """A Kafka and a Redis that ask who connects."""
    stack = SecuredStack(tmp_path_factory.mktemp("secured") / "stack")
    yield stack
    stack.close()
