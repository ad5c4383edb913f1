"""Sends posts and engagements from files, data sets or the demo to Kafka: `feedmill replay`."""

from feedmill.simulation.replay.options import Counts, ReplayOptions, ReplaySummary
from feedmill.simulation.replay.run import run_replay

__all__ = ["Counts", "ReplayOptions", "ReplaySummary", "run_replay"]
