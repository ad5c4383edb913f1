"""Loads go on beside the loop, one after another."""

from threading import Event

from builders.waiting import until
from feedmill.streams.releases.newest_releases import BackgroundLoads


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
