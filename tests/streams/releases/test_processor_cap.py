"""A share of a core: what was taken is waited for, and little is saved up."""

from feedmill.streams.releases.challengers import ProcessorCap


class Clock:
    """A time that tests set, in seconds."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def taken_in(clock: Clock, cap: ProcessorCap, seconds: int, piece_s: float) -> float:
    """Return the processor time of pieces of work that want to begin every 10 ms."""
    taken = 0.0
    for _ in range(seconds * 100):
        clock.now_s += 0.010
        if cap.may_begin():
            cap.spend(piece_s)
            taken += piece_s
    return taken


def test_work_takes_its_share_and_no_more_however_large_a_piece_is() -> None:
    for piece_s in (0.0011, 0.008, 0.350):
        clock = Clock()
        share = taken_in(clock, ProcessorCap(0.1, clock), 200, piece_s) / 200
        assert 0.098 <= share <= 0.1 + (0.1 + piece_s) / 200


def test_little_work_is_never_held_back() -> None:
    clock = Clock()
    cap = ProcessorCap(0.05, clock)
    for _ in range(1000):
        clock.now_s += 0.010
        assert cap.may_begin()
        cap.spend(0.0004)


def test_what_was_saved_up_is_that_of_a_second() -> None:
    clock = Clock()
    cap = ProcessorCap(0.05, clock)
    clock.now_s += 3600
    pieces = 0
    while cap.may_begin():
        cap.spend(0.01)
        pieces += 1
    assert pieces == 5
