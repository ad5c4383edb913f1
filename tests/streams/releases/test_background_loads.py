from collections.abc import Iterator
from threading import Event

import pytest

from builders.waiting import until
from feedmill.events.errors import BadArtifact
from feedmill.events.reasons import MAX_REASON_CHARACTERS
from feedmill.streams.releases.background_loads import BackgroundLoads
from feedmill.streams.releases.loading import failure_reason


@pytest.fixture
def loads() -> Iterator[BackgroundLoads[str, bool]]:
    loads = BackgroundLoads[str, bool]("test")
    yield loads
    loads.close()


def test_what_is_loaded_is_taken_out_once_in_the_order_it_began(
    loads: BackgroundLoads[str, bool],
) -> None:
    may_end = Event()
    loads.begin("slow", 5, lambda: may_end.wait(60))
    loads.begin("quick", 7, lambda: False)
    assert loads.take_done() == []
    assert loads.keys() == {"slow", "quick"}
    may_end.set()
    taken: list[tuple[str, int, bool]] = []

    def all_taken() -> bool:
        taken.extend(loads.take_done())
        return len(taken) == 2

    until(all_taken)
    assert taken == [("slow", 5, True), ("quick", 7, False)]
    assert not loads
    assert loads.take_done() == []


def test_records_from_the_first_that_is_loading_on_are_not_dealt_with(
    loads: BackgroundLoads[str, bool],
) -> None:
    may_end = Event()
    loads.begin("spam", 5, lambda: may_end.wait(60))
    loads.begin("spam too", 7, lambda: True)
    assert loads.dealt_with(9, lambda key: key.startswith("spam")) == 4
    assert loads.dealt_with(9, lambda key: key == "spam too") == 6
    assert loads.dealt_with(3, lambda key: key == "spam too") == 3
    assert loads.dealt_with(9, lambda key: key == "nsfw") == 9
    may_end.set()


def test_the_reason_of_a_failure_is_short_and_names_errors_that_are_not_feedmills() -> None:
    assert failure_reason(BadArtifact("it was altered")) == "it was altered"
    assert failure_reason(ValueError("no number")) == "ValueError('no number')"
    assert len(failure_reason(ValueError("x" * 5000))) == MAX_REASON_CHARACTERS
