"""A combiner with posts, and the feeds that its changes make."""

import itertools
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any

from builders.events import NOW_MS, post, settings_of, signal
from feedmill.events.partition import ALL_SHARDS
from feedmill.events.post import Deletion
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner import Combiner

NAMES = SignalNames()
HIDDEN, SHOWN = 0.95, 0.1


class Posts:
    """A combiner with posts, and the feeds that its changes make."""

    def __init__(self, shards: AbstractSet[int] = ALL_SHARDS) -> None:
        self.combiner = Combiner(NAMES, shards=shards)
        self.feeds: dict[str, dict[str, float]] = {}
        self.offsets: dict[str, int] = {}

    def add(self, post_id: str, quality: float = 0.5, spam: float = SHOWN, **more: Any) -> None:
        arrived_ms = more.pop("arrived_ms", NOW_MS)
        given = {"author_id": post_id, "created_at_ms": NOW_MS, **more}
        self.offsets[post_id] = len(self.offsets)
        one = post(post_id, **given)
        self.combiner.view.update_post(one, self.offsets[post_id], arrived_ms)
        for name in NAMES.gates:
            self.signal(name, post_id, SHOWN)
        self.signal("spam", post_id, spam)
        self.signal("quality", post_id, quality)

    def signal(self, name: str, post_id: str, value: float) -> None:
        self.combiner.view.update_signal(name, signal(post_id, self.offsets[post_id], value))

    def delete(self, post_id: str) -> None:
        deletion = Deletion(post_id, deleted=True)
        self.combiner.view.update_post(deletion, self.offsets[post_id] + 1, NOW_MS)

    def set(self, key: str, value: Any) -> None:
        self.combiner.apply(settings_of((key, value), before=self.combiner.settings))

    def take(self) -> None:
        """Take the changes into `feeds`."""
        changes = self.combiner.take(NOW_MS)
        for name in changes.removed_feeds:
            self.feeds.pop(name, None)
        for change in changes.feeds:
            held = {} if change.whole else self.feeds[change.feed]
            for post_id in change.removed:
                del held[post_id]
            self.feeds[change.feed] = {**held, **dict(change.entries)}

    def settle(self) -> dict[str, dict[str, float]]:
        self.combiner.work(NOW_MS)
        self.combiner.tick(NOW_MS)
        self.combiner.work(NOW_MS)
        self.take()
        return self.feeds

    def work_in_parts(self, between: Callable[[int], object]) -> int:
        """Do all work in the smallest parts; returns how many there were."""
        for part in itertools.count(1):
            if not self.combiner.work(NOW_MS, lambda: False):
                return part
            between(part)
        raise AssertionError
