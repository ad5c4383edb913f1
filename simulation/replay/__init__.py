"""`feedmill replay`: posts and engagements from files, data sets or a simulation, into Kafka."""

from feedmill.simulation.replay.options import Counts, ReplayOptions, ReplaySummary
from feedmill.simulation.replay.run import run_replay

__all__ = ["Counts", "ReplayOptions", "ReplaySummary", "run_replay"]
