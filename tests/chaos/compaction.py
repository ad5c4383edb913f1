"""Topics that Kafka compacts within seconds, and waiting for it."""

import time

from builders.engine_topics import PARTITIONS
from builders.fault_engine import FaultEngine
from builders.waiting import until
from chaos.recovery import Probe

_SEGMENT_S = 1.0
# A segment that is open, and one that the cleaner has not reached.
_LEFT = 20 * PARTITIONS


def compacted_topics(engine: FaultEngine) -> list[str]:
    """The topics whose last record of each key is the state."""
    return [
        "posts",
        "counters",
        *(f"signals.{name}" for name in (*engine.gates, *engine.objectives)),
    ]


def wait_compacted(engine: FaultEngine) -> None:
    """Wait until of each key little more than its last record is left."""

    def is_compacted() -> bool:
        # A segment ends with the first record after its time.
        Probe(engine).seconds()
        time.sleep(_SEGMENT_S)
        return all(_is_compacted(engine, topic) for topic in compacted_topics(engine))

    until(is_compacted, 60)


def _is_compacted(engine: FaultEngine, topic: str) -> bool:
    keys = [record.key for record in engine.read_all(topic)]
    return len(keys) <= len(set(keys)) + _LEFT
