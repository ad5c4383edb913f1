from builders.golden import Golden
from builders.refusals import Refusals
from feedmill.events import signal
from feedmill.events.errors import UsageError
from feedmill.events.signal import MAX_SIGNALS, SignalNames

REFUSED = (
    *("extreme", "extreme:filter", "spam:gate", "a:gate,a:objective", "override:gate"),
    *("a:cost,a:gate", "report:cost"),
    *("alpha:objective", "scale:objective", "Extreme:gate", "a-b:gate", ":gate"),
    ",".join(f"s{i}:gate" for i in range(MAX_SIGNALS - 9)),
)


def test_declared_signals_follow_the_built_in_ones_of_their_role() -> None:
    names = SignalNames.parse(" extreme:gate , novelty:objective,, toxic:gate,regret:cost")
    assert names.gates == ("spam", "nsfw", "misinformation", "extreme", "toxic")
    assert names.objectives == ("quality", "engagement", "reply", "share", "dwell", "novelty")
    assert names.costs == ("hide", "report", "regret")
    assert names.all == (*names.gates, *names.objectives, *names.costs)
    assert names.own == ("extreme", "toxic", "novelty", "regret")
    assert SignalNames.parse("") == SignalNames()


def test_bad_declarations_of_signals_are_refused(golden: Golden) -> None:
    refusals = Refusals(UsageError, signal)
    for declaration in REFUSED:
        refusals.add(f"FEEDMILL_SIGNALS={declaration[:60]}", SignalNames.parse, declaration)
    golden.check("refused_signals.txt", refusals.text())
    assert refusals.not_reached() == []
