"""Whether what a feed shows is fresh: the inputs were read, and the stages behind it live."""

from __future__ import annotations

from aiokafka.errors import KafkaError

from feedmill.events.decode import decode_instance
from feedmill.events.errors import BadEvent
from feedmill.rankers.combiner import FeedChange
from feedmill.streams.kafka.batches import Record
from feedmill.streams.kafka.log_reader import LogReader
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.environment import Environment

INPUT_WITHIN_S = 5.0
SEEN_WITHIN_MS = 15_000


class Freshness:
    """Follows `instances`, and how far the combiner's input is behind."""

    def __init__(self, environment: Environment, inputs: LogReader) -> None:
        self._inputs = inputs
        self._instances = LogReader(environment, ["instances"])
        self._ready_at: dict[str, int] = {}
        self._alive: frozenset[str] = frozenset()

    async def start(self) -> None:
        """Read `instances` to its end."""
        await self._instances.start()
        while not await self._instances.has_caught_up():
            await self._follow(100)

    async def look(self) -> bool:
        """Look again, about once a second; whether more is fresh than the last time."""
        before = self._alive
        try:
            await self._inputs.look_at_ends()
            inputs_fresh = await self._inputs.fresh_within(INPUT_WITHIN_S)
            await self._follow(10)
        except KafkaError:
            self._alive = frozenset()
            raise
        since = now_ms() - SEEN_WITHIN_MS
        seen = {stage for stage, at_ms in self._ready_at.items() if at_ms >= since}
        self._alive = frozenset(seen if inputs_fresh else ())
        return not self._alive <= before

    def is_fresh(self, change: FeedChange) -> bool:
        """Whether a feed may be called fresh for another while."""
        # Nobody counts as alive while the input is behind, or Kafka away.
        return self._alive.issuperset(stages_behind(change))

    async def stop(self) -> None:
        """Disconnect."""
        await self._instances.stop()

    async def _follow(self, timeout_ms: int) -> None:
        for batch in await self._instances.read(timeout_ms):
            for record in batch.records:
                self._take(record)

    def _take(self, record: Record) -> None:
        if not record.value:
            return
        try:
            seen = decode_instance(record.value)
        except BadEvent:
            return
        if seen.ready:
            self._ready_at[seen.stage] = max(self._ready_at.get(seen.stage, 0), record.timestamp)


def stages_behind(change: FeedChange) -> list[str]:
    """The stages without which a feed grows stale."""
    gates = [name for name, gate in change.gates.items() if gate.required]
    return gates + [name for name, weight in change.weights.objectives.items() if weight]
