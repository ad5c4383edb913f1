"""The combiner: signals become rankings.  Plain numpy; time is an argument, nothing does I/O.

    records ─► PostView ─► GateDecisions ─► FeedScores ─► LiveFeeds, top ─► changes to write

`Combiner` puts these together; `streams` calls it with records and writes what it returns.
"""

from feedmill.rankers.combiner.combiner import Combiner
from feedmill.rankers.combiner.pending_writes import FeedChange, SignalsChange, arm_list

__all__ = ["Combiner", "FeedChange", "SignalsChange", "arm_list"]
