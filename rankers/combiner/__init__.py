"""The combiner: signals become rankings.  Plain numpy; time is an argument, nothing does I/O.

    records
      │
    PostView            every post, signal and override, in columns; knows which rows changed
      │
    PolicyCache         for each policy that some feed has:
      ├─ GateDecisions    may a post be shown?
      └─ FeedScores       how high does it rank?
      │
    LiveFeeds           the feeds in force, a FeedSet, and a FeedBuild while settings change
      ├─ FeedSet          feeds by name under one state of the settings
      │    ├─ FeedMatcher   which feeds take a post
      │    ├─ FeedPlaces    which feeds on demand exist where they are too many
      │    └─ FeedRanking   one feed: its RankedList of posts, and what Redis shows of it
      └─ FeedBuild        fills another FeedSet, in slices over all posts
      │
    PendingWrites       the posts and feeds that Redis does not show yet
      │
    FeedChange, SignalsChange

`Combiner` calls them in this order; `streams` calls it with records and writes what it returns.
"""

from feedmill.rankers.combiner.combiner import Combiner
from feedmill.rankers.combiner.pending_writes import FeedChange, SignalsChange, arm_list

__all__ = ["Combiner", "FeedChange", "SignalsChange", "arm_list"]
