"""When its rules change, a filter judges again those posts of the last week that they are about.

Not promised: after a crash, or where a partition goes to an instance that had finished, nobody
goes on; writing the same rules once more does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from aiokafka.errors import KafkaError

from feedmill.events.decode import decode_post
from feedmill.events.post import Deletion, Post
from feedmill.events.settings import Settings
from feedmill.filters.rules import FilterRules, RuleSet
from feedmill.streams.batches import Record, RecordBatch, Source
from feedmill.streams.clock import now_ms
from feedmill.streams.environment import Environment
from feedmill.streams.group_stage import GroupStage
from feedmill.streams.intake import admit
from feedmill.streams.log_reader import LogReader

BACK_MS = 168 * 3_600_000
MOST_POSTS = 100_000

log = logging.getLogger(__name__)

_CHUNK = 1000
_AT_ONCE = 500
_RETRY_S = 5.0
# The posts that come now go first: a quarter of a core is for those that were there.
_PAUSES = 3.0


class Search:
    """One pass over some partitions of `posts`: the last versions that rules are about.

    Takes memory for the posts that are hit, of which the newest `MOST_POSTS` are kept.
    """

    def __init__(self, rule_sets: Sequence[RuleSet]) -> None:
        self._rule_sets = rule_sets
        self._found: dict[bytes, tuple[Record, Post]] = {}
        self._newer: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._found)

    async def read(self, environment: Environment, partitions: Sequence[int]) -> None:
        """Read these partitions of `posts` back to `BACK_MS`, up to where they end now."""
        reader = LogReader(environment, ["posts"], partitions, max_records=_CHUNK)
        try:
            await reader.start()
            sources = [Source("posts", partition) for partition in partitions]
            for source, end in (await reader.end_of(sources)).items():
                first = await reader.offset_at(source, now_ms() - BACK_MS)
                reader.seek(source, end if first is None else first)
            while not await reader.has_caught_up():
                batches = await reader.read()
                start = time.perf_counter()
                for batch in batches:
                    self.look_at(batch, reader.partitions["posts"])
                await asyncio.sleep((time.perf_counter() - start) * _PAUSES)
        finally:
            await reader.stop()

    def look_at(self, batch: RecordBatch, partitions: int) -> None:
        """Keep the posts of a batch that a rule is about; forget what the batch supersedes."""
        events = admit(batch, partitions, decode_post).events
        posts = [(record, post) for record, post in events if not isinstance(post, Deletion)]
        only, at_ms = [post for _, post in posts], [record.timestamp for record, _ in posts]
        hits = zip(*(rules.verdicts(only, at_ms) for rules in self._rule_sets), strict=True)
        about = {record.offset for (record, _), each in zip(posts, hits, strict=True) if any(each)}
        for record, event in events:
            key = record.key or b""
            self._found.pop(key, None)
            if record.offset in about and not isinstance(event, Deletion):
                self._found[key] = record, event
        while len(self._found) > MOST_POSTS:
            del self._found[next(iter(self._found))]

    def note(self, records: Iterable[Record]) -> None:
        """The stage has dealt with these versions meanwhile."""
        for record in records:
            self._newer[record.key or b""] = record.offset

    def take(self, count: int) -> list[tuple[Record, Post]]:
        """Up to `count` posts whose last version these are, each once; none: there are no more."""
        taken: list[tuple[Record, Post]] = []
        while self._found and len(taken) < count:
            key, (record, post) = self._found.popitem()
            if self._newer.get(key, -1) <= record.offset:
                taken.append((record, post))
        return taken


class JudgingAgain:
    """A part of a filter's stage: one search after each change of its rules, then `judge`.

    `judge` gathers signals in the stage's producer.  It and whatever else publishes the stage's
    signals hold `publishing` until they are flushed: the versions of a post must reach their topic
    in order, or its compaction would keep the older one.
    """

    def __init__(
        self,
        stage: GroupStage,
        rules: FilterRules,
        judge: Callable[[Sequence[tuple[Record, Post]]], None],
    ) -> None:
        self.publishing = asyncio.Lock()
        self._stage = stage
        self._rules = rules
        self._judge = judge
        # Of the rules before the present ones those whose posts are yet to be judged again.
        self._earlier: list[RuleSet] = []
        self._offset: int | None = None
        self._changed = asyncio.Event()
        self._search: Search | None = None

    def follow(self, settings: Settings, earlier: RuleSet) -> None:
        """Settings were taken over; `earlier` held before.  Nothing is new while starting up."""
        offset = settings.offsets.get(f"rules/{self._stage.name}", -1)
        if self._offset is not None and self._offset != offset:
            self._offset = offset
            self._earlier.append(earlier)
            self._changed.set()

    def note(self, records: Iterable[Record]) -> None:
        """The stage has dealt with these records just now."""
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
            elif not self._changed.is_set():
                self._earlier.clear()

    async def _search_and_judge(self) -> bool:
        """Judge again what is found in the partitions of this assignment; whether it held."""
        app = self._stage.app
        epoch, partitions = app.epoch, sorted({source.partition for source in app.ledger.done})
        search = self._search = Search((self._rules.in_force, *self._earlier))
        start = time.monotonic()
        if partitions:
            await search.read(self._stage.environment, partitions)
        judged = 0
        while search:
            async with self.publishing:
                if app.epoch != epoch:
                    return False
                if posts := search.take(_AT_ONCE):
                    self._judge(posts)
                    await self._stage.producer.flush()
                    judged += len(posts)
        seconds = time.monotonic() - start
        log.info("rules changed: %d posts judged again within %.1f s", judged, seconds)
        return app.epoch == epoch
