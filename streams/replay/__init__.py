"""`feedmill replay`: posts and engagements from files, data sets or a simulation, into Kafka."""

from feedmill.streams.replay.options import Counts, ReplayOptions, ReplaySummary
from feedmill.streams.replay.run import run_replay

__all__ = ["Counts", "ReplayOptions", "ReplaySummary", "run_replay"]
