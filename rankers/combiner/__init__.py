"""The combiner: signals become rankings.  Plain numpy; time is an argument, nothing does I/O.

    records ─► View (columns) ─► Lens (gates, score) ─► Members, top ─► changes to write

`Combiner` puts these together; `streams` feeds it records and writes what it returns.
"""

from feedmill.rankers.combiner.changes import FeedChange, SignalsChange
from feedmill.rankers.combiner.combiner import Combiner

__all__ = ["Combiner", "FeedChange", "SignalsChange"]
