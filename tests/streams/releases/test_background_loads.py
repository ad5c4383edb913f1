from threading import Event

from builders.waiting import until
from feedmill.events.errors import BadArtifact
from feedmill.events.reasons import MAX_REASON_CHARACTERS
from feedmill.streams.releases.background_loads import BackgroundLoads
from feedmill.streams.releases.loading import failure_reason


def test_what_is_loaded_is_taken_out_once_in_the_order_it_began() -> None:
    loads, may_end = BackgroundLoads[str, bool]("test"), Event()
    loads.begin("slow", 5, lambda: may_end.wait(60))
    loads.begin("quick", 7, lambda: False)
    assert (loads.take_done(), loads.keys()) == ([], {"slow", "quick"})
    # Records from the first that is loading on are not dealt with.
    for offset, keys, expected in ((9, "slow quick", 4), (9, "quick", 6), (3, "quick", 3)):
        assert loads.dealt_with(offset, keys.split().__contains__) == expected
    assert loads.dealt_with(9, lambda key: key == "nsfw") == 9
    may_end.set()
    taken: list[tuple[str, int, bool]] = []

    def all_taken() -> bool:
        taken.extend(loads.take_done())
        return len(taken) == 2

    until(all_taken)
    assert taken == [("slow", 5, True), ("quick", 7, False)]
    assert (len(loads), loads.take_done()) == (0, [])
    loads.close()


def test_the_reason_of_a_failure_is_short_and_names_errors_that_are_not_feedmills() -> None:
    assert failure_reason(BadArtifact("it was altered")) == "it was altered"
    assert failure_reason(ValueError("no number")) == "ValueError('no number')"
    assert len(failure_reason(ValueError("x" * 5000))) == MAX_REASON_CHARACTERS
