"""Counts the topics of a partition again, as the engagement step counted them, to train on.

Each user's first impression of a post becomes a row: what the step knew of the post just before,
and how the user reacted.  Time is the timestamp of records alone, so that a log has one answer.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np

from feedmill.events.engagement import Engagement
from feedmill.events.post import Deletion, Post
from feedmill.features.authorship import author_key
from feedmill.features.counters import Counters, weight_of
from feedmill.features.post_batch import PostBatch
from feedmill.rankers.engagement import HEADS, clicks_and_impressions
from feedmill.rankers.impressions import Impressions
from feedmill.streams.engagement.feature_row import FeatureRow
from feedmill.streams.engagement.partition_state import PartitionState, PostSource, Uncounted
from feedmill.streams.engagement.repeated_engagements import KEY_BITS, RepeatFilter
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batches import Record

_KEY = (1 << KEY_BITS) - 1
_BIT_OF = {kind: 1 << column for column, kind in enumerate(HEADS)}
_IN_A_BURST = 1 << len(HEADS)
# So many events make a cycle, after which states are packed.
_CYCLE = 1_000
# Why an impression makes no row that came less than the wait before the end.
TOO_LATE = "impressions too late to know the reactions"


class EngagementReplay:
    """The topics of one partition: first all records of `posts`, then those of `engagements`.

    What the step logged of its values is compared with what is counted here, to the bit.

    Parameters
    ----------
    environment
        What counts, as the worker was told: its user window, bursts and examination.
    wait_ms
        How long after an impression a reaction of the user belongs to it, in record time.

    Attributes
    ----------
    left_out
        How many impressions or events make no row, by the reason.
    first_ms, last_ms
        The oldest timestamp of an engagement so far, 0 without one, and the newest of all records.
    compared, differing
        How many values that the step logged were compared with what is counted here, and the posts
        of those that differ.
    """

    def __init__(self, environment: Environment, wait_ms: int) -> None:
        self.left_out: Counter[str] = Counter()
        self.first_ms = self.last_ms = 0
        self.compared = 0
        self.differing: list[str] = []
        self._state = PartitionState(environment)
        self._examination = environment.examination
        self._wait_ms = wait_ms
        self._posts: deque[tuple[Record, Post | Deletion, int]] = deque()
        self._deleted: set[str] = set()
        self._met = RepeatFilter()  # users and posts that met
        self._versions: list[Post] = []
        self._authors, self._created_ms = array("q"), array("q")
        self._version_of: dict[str, int] = {}
        self._begins_ms: int | None = None
        self._counted = 0
        self._rows = _Rows()
        self._logged: dict[tuple[str, int], list[FeatureRow]] = {}
        # The rows whose reactions are waited for, by user and post, in the order of time.
        self._waiting: dict[int, int] = {}
        self._ends: deque[int] = deque()

    def add_posts(self, events: Iterable[tuple[Record, Post | Deletion]]) -> None:
        """Take records of `posts`, in the order of their offsets."""
        taken = [*events]
        posts = [event for _, event in taken if isinstance(event, Post)]
        of_texts = iter(PostBatch(posts).sketches if posts else ())
        for record, event in taken:
            self.last_ms = max(self.last_ms, record.timestamp)
            sketch = next(of_texts) if isinstance(event, Post) else 0
            self._posts.append((record, event, sketch))
            if isinstance(event, Deletion):
                self._deleted.add(event.post_id)

    def add_logged(self, rows: Iterable[FeatureRow]) -> None:
        """Take what the step logged of its values, before any engagement is counted."""
        for row in rows:
            self._logged.setdefault((row.post_id, row.through), []).append(row)

    def count(self, events: Sequence[tuple[Record, Engagement]]) -> None:
        """Count records of `engagements`, in the order of their offsets."""
        for record, event in events:
            if self._begins_ms is None:
                self._begins_ms = record.timestamp if record.offset else 0
            self.first_ms = min(self.first_ms or record.timestamp, record.timestamp)
            self.last_ms = max(self.last_ms, record.timestamp)
            self._take_posts(record.timestamp)
            self._count_one(record, event)
            self._counted += 1
            if self._counted % _CYCLE == 0:
                self._state.pack()

    def impressions(self, end_ms: int) -> Impressions:
        """Return the first impressions whose reactions all came by `end_ms`, Unix milliseconds."""
        self._take_posts(end_ms)
        found = self._rows.impressions(self._versions, self._authors)
        kept = np.array([*map(self._is_kept, range(len(self._versions)))], dtype=np.bool_)
        damped = np.array(self._rows.flags, dtype=np.uint8) & _IN_A_BURST > 0
        is_row = np.ones(len(found), dtype=np.bool_)
        for why, mask in (
            ("impressions of posts deleted since, or older than the log", ~kept[found.versions]),
            ("impressions followed by a reaction in a burst", damped),
            (TOO_LATE, found.at_ms + self._wait_ms > end_ms),
        ):
            left_out = int((is_row & mask).sum())
            if left_out:
                self.left_out[why] += left_out
            is_row &= ~mask
        return found.where(is_row)

    def _is_kept(self, version: int) -> bool:
        """Whether all engagements of the post are in the log, and its author keeps it."""
        is_whole = self._created_ms[version] >= (self._begins_ms or 0)
        return is_whole and self._versions[version].post_id not in self._deleted

    def _take_posts(self, until_ms: int) -> None:
        """Take over the posts whose records had come by then."""
        while self._posts and self._posts[0][0].timestamp <= until_ms:
            record, event, sketch = self._posts.popleft()
            if isinstance(event, Deletion):
                self._state.bury(event.post_id, record.timestamp)
                self._version_of.pop(event.post_id, None)
                continue
            source = PostSource.of(event, sketch)
            self._state.put_post(event.post_id, record.offset, 0.0, record.timestamp, source)
            self._version_of[event.post_id] = len(self._versions)
            self._versions.append(event)
            self._created_ms.append(min(event.created_at_ms, record.timestamp))
            self._authors.append(author_key(event.author_id))
            self._compare(event.post_id)

    def _count_one(self, record: Record, event: Engagement) -> None:
        bit = _BIT_OF.get(event.kind, 0)
        if not bit and event.kind != "impression":
            self._fold(record, event)
            return
        key = hash((event.post_id, event.user_id)) & _KEY
        (met,) = self._met.repeats([key], [0])
        if bit:
            reason = self._fold(record, event)
            if not met:
                self.left_out["reactions before any impression"] += 1
            elif reason != "repeated event":
                self._react(key, record.timestamp, bit, reason)
            return
        state = None if met else self._state.find(event.post_id)
        before = Counters() if state is None else _copy(state.kept_counters)
        reason = self._fold(record, event)
        if reason == "damped":
            self.left_out["impressions in a burst"] += 1
        if met or reason:
            return
        version = self._version_of.get(event.post_id)
        if version is None:
            self.left_out["impressions of posts that are not there"] += 1
            return
        self._expire(record.timestamp)
        weight = weight_of(event.kind, event.position, self._examination)
        user = _user_key(event.user_id)
        self._waiting[key] = self._rows.add(version, record.timestamp, weight, before, user)
        self._ends.append(key)

    def _fold(self, record: Record, event: Engagement) -> Uncounted:
        """Count one event as the step does; return why it does not count whole."""
        (reason,) = self._state.count([(record, event)])
        if self._logged and reason in ("", "damped", "stranger"):
            self._compare(event.post_id)
        return reason

    def _compare(self, post_id: str) -> None:
        """Compare what is counted of a post by now with what the step logged at that point."""
        state = self._state.find(post_id) if self._logged else None
        version = self._version_of.get(post_id)
        if state is None or version is None:
            return
        rows = self._logged.pop((post_id, state.through), ())
        if not rows or not self._is_kept(version):
            return
        (clicks,), (impressions,) = clicks_and_impressions([state.kept_counters])
        counted = clicks, impressions, state.counters
        for row in rows:
            self.compared += 1
            if (row.clicks, row.impressions, row.counters) != counted:
                self.differing.append(post_id)

    def _react(self, key: int, at_ms: int, bit: int, reason: Uncounted) -> None:
        row = self._waiting.get(key)
        if row is not None and at_ms <= self._rows.at_ms[row] + self._wait_ms:
            self._rows.flags[row] |= _IN_A_BURST if reason == "damped" else bit

    def _expire(self, now_ms: int) -> None:
        """Forget rows that no reaction belongs to any more."""
        at_ms = self._rows.at_ms
        while self._ends and at_ms[self._waiting[self._ends[0]]] + self._wait_ms < now_ms:
            del self._waiting[self._ends.popleft()]


class _Rows:
    """The columns of `Impressions` as they grow; `flags` has a bit for each reaction."""

    def __init__(self) -> None:
        self.versions, self.at_ms, self.users = array("q"), array("q"), array("q")
        self.weights = array("d")
        self.flags = bytearray()
        self._clicks: list[np.ndarray] = []
        self._impressions: list[np.ndarray] = []
        self._before: list[Counters] = []

    def add(self, version: int, at_ms: int, weight: float, before: Counters, user: int) -> int:
        """Add a row and return its number."""
        self.versions.append(version)
        self.at_ms.append(at_ms)
        self.weights.append(weight)
        self.users.append(user)
        self.flags.append(0)
        self._before.append(before)
        if len(self._before) == _CYCLE:
            self._decay()
        return len(self.versions) - 1

    def impressions(self, posts: list[Post], authors: array[int]) -> Impressions:
        """Return all rows."""
        self._decay()
        flags = np.array(self.flags, dtype=np.uint8)[:, None]
        return Impressions(
            posts,
            np.array(self.versions, dtype=np.int64),
            np.array(self.at_ms, dtype=np.int64),
            np.array(self.weights, dtype=np.float64),
            np.concatenate(self._clicks),
            np.concatenate(self._impressions),
            flags & np.array([*_BIT_OF.values()], dtype=np.uint8) > 0,
            np.array(authors, dtype=np.int64),
            users=np.array(self.users, dtype=np.int64),
        )

    def _decay(self) -> None:
        clicks, impressions = clicks_and_impressions(self._before)
        self._clicks.append(clicks)
        self._impressions.append(impressions)
        self._before = []


def _user_key(user_id: str) -> int:
    """Return a hash of a user that is the same in every process, as int64."""
    return int.from_bytes(blake2b(user_id.encode(), digest_size=8).digest(), signed=True)


def _copy(counters: Counters) -> Counters:
    return Counters([*counters.counts], [*counters.sums], [*counters.at_ms], counters.dwell_ms)
