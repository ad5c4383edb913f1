"""The groups of workers, asked of a broker that has just started."""

import pytest
from kafka.errors import CoordinatorLoadInProgressError

from feedmill.operations import worker_groups as module
from feedmill.operations.worker_groups import worker_groups
from feedmill.streams.environment import Environment


class Admin:
    """An admin client whose broker still reads its groups for the first `loading` questions."""

    def __init__(self, loading: int) -> None:
        self.loading = loading

    def list_groups(self) -> list[dict[str, object]]:
        if self.loading:
            self.loading -= 1
            raise CoordinatorLoadInProgressError("still loading")
        names = "a.worker", "a.worker-quality", "a.workers", "b.worker"
        return [{"group_id": name} for name in reversed(names)]


def test_a_broker_that_still_reads_its_groups_is_asked_again() -> None:
    environment = Environment(topic_prefix="a.")
    assert worker_groups(environment, Admin(loading=2)) == ["a.worker", "a.worker-quality"]


def test_a_broker_that_goes_on_reading_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOADED_WITHIN_S", 0.0)
    environment = Environment(topic_prefix="a.")
    with pytest.raises(CoordinatorLoadInProgressError):
        worker_groups(environment, Admin(loading=100))
