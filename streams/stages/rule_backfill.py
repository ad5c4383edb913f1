"""When its rules change, a filter judges again those posts of the last week that they are about.

Rules alone decide anew: what the filter said by itself, its model, the cap and the campaign at the
time of the post, stands in its signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec
from aiokafka.errors import KafkaError

from feedmill.events.decode import encode
from feedmill.events.settings import Settings
from feedmill.events.signal import RuleVerdict
from feedmill.filters.rules import FilterRules, RuleMatch
from feedmill.streams.kafka.batches import Record, TopicPartition
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.stages.backfill_scan import BackfillMatch, BackfillScan
from feedmill.streams.stages.group_stage import GroupStage

log = logging.getLogger(__name__)

# As versions of the rules: before any change, and before that.
NEVER, _UNKNOWN = -1, -2

_NOTE = "rules="
_AT_ONCE = 500
_RETRY_S = 5.0
_LOOK_EVERY_S = 2.0


class RuleBackfill:
    """A part of a filter's stage: searches until every post knows the present rules.

    Beside the offset of each partition the stage commits the last change of the rules that all of
    its judged posts have been searched for, so that whoever takes it over goes on: after a crash,
    a rebalance, or a change while nobody was there.

    It and whatever else publishes the stage's signals hold `publishing` until they are flushed:
    the versions of a post must reach their topic in order, or its compaction would keep the older
    one.  `ruling` says what follows from a hit under the gates in force.
    """

    def __init__(
        self, stage: GroupStage, rules: FilterRules, ruling: Callable[[RuleMatch], RuleVerdict]
    ) -> None:
        self.publishing = asyncio.Lock()
        self._stage = stage
        self._rules = rules
        self._ruling = ruling
        self._version = NEVER
        self._changed = asyncio.Event()
        self._epoch = 0
        self._searched: dict[TopicPartition, int] = {}
        self._search: BackfillScan | None = None

    def follow(self, settings: Settings) -> None:
        """Settings were taken over, the rules with them."""
        version = settings.change_offsets.get(f"rules/{self._stage.name}", NEVER)
        if version != self._version:
            self._version = version
            self._changed.set()

    def take_over(self) -> None:
        """Learn how far the posts of a new assignment are, before any more of them are judged."""
        app = self._stage.app
        if self._epoch != app.epoch:
            self._epoch = app.epoch
            notes = app.ledger.notes
            self._searched = {source: self._read(note) for source, note in notes.items()}
            notes.update({source: _NOTE + str(at) for source, at in self._searched.items()})

    def _read(self, note: str | None) -> int:
        if note is None:
            return self._version  # Nothing was judged yet.
        found = note.removeprefix(_NOTE)
        searched = int(found) if re.fullmatch(r"-?\d+", found) else NEVER
        # A change that never was: `config` was made anew, or is read a moment later here.
        return searched if searched <= self._version else _UNKNOWN

    def behind(self) -> list[TopicPartition]:
        """The partitions of the assignment whose posts may not know the present rules."""
        self.take_over()
        return [source for source, at in self._searched.items() if at < self._version]

    def note(self, records: Iterable[Record]) -> None:
        """The stage is about to judge these records."""
        if self._search is not None:
            self._search.note(records)

    async def run(self) -> None:
        """Search and judge where it has to be, for ever."""
        await self._stage.app.assigned.wait()
        while True:
            if behind := self.behind():
                try:
                    await self._search_and_judge(behind)
                except KafkaError as error:
                    log.warning("judging by the new rules, trying again: %r", error)
                    await asyncio.sleep(_RETRY_S)
                finally:
                    self._search = None
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _LOOK_EVERY_S)
            self._changed.clear()

    async def _search_and_judge(self, behind: Sequence[TopicPartition]) -> None:
        """Judge again what is found in these partitions, unless rules or assignment change."""
        stage, start = self._stage, time.monotonic()
        async with self.publishing:
            # What was judged by the rules of before is on its topic now, the rest will be noted.
            search = BackfillScan(stage.name, stage.environment.signals, self._rules.in_force)
            self._search, now = search, (self._version, self._epoch)
        await search.read(stage.environment, sorted(source.partition for source in behind))
        changed = 0
        while True:
            async with self.publishing:
                if now != (self._version, stage.app.epoch):
                    return
                posts = search.take(_AT_ONCE)
                if not posts:
                    break
                changed += self._judge(posts)
                await stage.producer.flush()
        # Nothing was awaited since rules and assignment were looked at.
        for source in behind:
            self._searched[source] = self._version
            stage.app.ledger.note(source, _NOTE + str(self._version))
        seconds = time.monotonic() - start
        log.info("rules changed: %d posts judged again within %.1f s", changed, seconds)

    def _judge(self, posts: Sequence[BackfillMatch]) -> int:
        """Gather the signals that become others; how many."""
        at_ms, topic, changed = now_ms(), f"signals.{self._stage.name}", 0
        for post in posts:
            if post.hit is None:
                signal = post.signal.without_rule(at_ms)
            else:
                signal = post.signal.with_rule(self._ruling(post.hit), at_ms)
            if msgspec.structs.replace(signal, at_ms=post.signal.at_ms) != post.signal:
                self._stage.producer.add(topic, signal.post_id.encode(), encode(signal))
                changed += 1
        return changed
