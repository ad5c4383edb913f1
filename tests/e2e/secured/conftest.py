import shutil
from collections.abc import Iterator

import pytest

from builders.scratch import scratch_folder
from builders.secured_stack import SecuredStack


@pytest.fixture(scope="module")
def secured() -> Iterator[SecuredStack]:
    """A Kafka and a Redis that ask who connects."""
    folder = scratch_folder("feedmill-secured-")
    stack = SecuredStack(folder / "stack")
    yield stack
    stack.close()
    shutil.rmtree(folder)
