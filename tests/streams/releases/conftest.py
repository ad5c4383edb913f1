"""Workers of one filter in memory."""

import pytest

from builders.canary_worker import Cluster


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)
