"""When its rules change, a filter judges again those posts of the last week that they are about.

Rules alone decide anew: what the filter said by itself, its model, the cap and the campaign at the
time of the post, stands in its signal.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec
from aiokafka.errors import KafkaError

from feedmill.events.decode import encode
from feedmill.events.settings import Settings
from feedmill.events.signal import Ruling
from feedmill.filters.rules import FilterRules, Hit
from feedmill.streams.batches import Record
from feedmill.streams.clock import now_ms
from feedmill.streams.group_stage import GroupStage
from feedmill.streams.rule_search import Found, Search

log = logging.getLogger(__name__)

_AT_ONCE = 500
_RETRY_S = 5.0


class JudgingAgain:
    """A part of a filter's stage: one search after each change of its rules, then new signals.

    It and whatever else publishes the stage's signals hold `publishing` until they are flushed:
    the versions of a post must reach their topic in order, or its compaction would keep the older
    one.  `ruling` says what follows from a hit under the gates in force.
    """

    def __init__(
        self, stage: GroupStage, rules: FilterRules, ruling: Callable[[Hit], Ruling]
    ) -> None:
        self.publishing = asyncio.Lock()
        self._stage = stage
        self._rules = rules
        self._ruling = ruling
        self._offset: int | None = None
        self._changed = asyncio.Event()
        self._search: Search | None = None

    def follow(self, settings: Settings) -> None:
        """Settings were taken over.  Nothing is new while starting up."""
        offset = settings.offsets.get(f"rules/{self._stage.name}", -1)
        if self._offset is not None and self._offset != offset:
            self._offset = offset
            self._changed.set()

    def note(self, records: Iterable[Record]) -> None:
        """The stage is about to judge these records."""
        if self._search is not None:
            self._search.note(records)

    async def run(self) -> None:
        """Search and judge whenever the rules have changed, for ever."""
        self._offset = self._stage.config.settings.offsets.get(f"rules/{self._stage.name}", -1)
        await self._stage.app.assigned.wait()
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                whole = await self._search_and_judge()
            except KafkaError as error:
                log.warning("judging by the new rules, trying again: %r", error)
                whole = False
                await asyncio.sleep(_RETRY_S)
            finally:
                self._search = None
            if not whole:
                self._changed.set()

    async def _search_and_judge(self) -> bool:
        """Judge again what is found in the partitions of this assignment; whether it held."""
        app, name = self._stage.app, self._stage.name
        epoch, partitions = app.epoch, sorted({source.partition for source in app.ledger.done})
        async with self.publishing:
            # What was judged by the rules of before is on its topic now, the rest will be noted.
            search = Search(name, self._stage.environment.signals, self._rules.in_force)
            self._search = search
        start = time.monotonic()
        if partitions:
            await search.read(self._stage.environment, partitions)
        changed = 0
        while search:
            async with self.publishing:
                if app.epoch != epoch:
                    return False
                changed += self._judge(search.take(_AT_ONCE))
                await self._stage.producer.flush()
        seconds = time.monotonic() - start
        log.info("rules changed: %d posts judged again within %.1f s", changed, seconds)
        return app.epoch == epoch

    def _judge(self, posts: Sequence[Found]) -> int:
        """Gather the signals that become others; how many."""
        at_ms, topic, changed = now_ms(), f"signals.{self._stage.name}", 0
        for post in posts:
            if post.hit is None:
                signal = post.signal.unruled(at_ms)
            else:
                signal = post.signal.ruled(self._ruling(post.hit), at_ms)
            if msgspec.structs.replace(signal, at_ms=post.signal.at_ms) != post.signal:
                self._stage.producer.add(topic, signal.post_id.encode(), encode(signal))
                changed += 1
        return changed
