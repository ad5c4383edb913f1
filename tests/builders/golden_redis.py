"""What the combiner's changes make of Redis, and how `explain` is shown it."""

from __future__ import annotations

from collections.abc import Iterable

from feedmill.events.decode import encode
from feedmill.rankers.combiner import FeedChange, SignalsChange
from feedmill.streams.redis.reader import FeedSnapshot, PostSnapshot


class RedisModel:
    """Feeds, their infos and the hashes of posts, as texts."""

    def __init__(self) -> None:
        self.feeds: dict[str, dict[str, float]] = {}
        self.info: dict[str, dict[str, str]] = {}
        self.hashes: dict[str, dict[str, str]] = {}
        self.expires: dict[str, int] = {}

    def take(
        self,
        signals: Iterable[SignalsChange],
        feeds: Iterable[FeedChange],
        removed_feeds: Iterable[str],
    ) -> None:
        for change in signals:
            self._take_signals(change)
        for feed in feeds:
            self._take_feed(feed)
        for name in removed_feeds:
            self.feeds.pop(name, None)
            self.info.pop(name, None)

    def _take_signals(self, change: SignalsChange) -> None:
        if not change.fields:
            self.hashes.pop(change.post_id, None)
            return
        held = {} if change.whole else self.hashes[change.post_id]
        for name, value in change.fields.items():
            held[name] = value.decode() if isinstance(value, bytes) else value
        self.hashes[change.post_id] = {name: value for name, value in held.items() if value}
        self.expires[change.post_id] = change.expires_at_ms

    def _take_feed(self, change: FeedChange) -> None:
        held = {} if change.whole else self.feeds[change.feed]
        for post_id in change.removed:
            del held[post_id]
        held.update(change.entries)
        self.feeds[change.feed] = held
        assert change.size == len(held)
        if change.whole:
            self.info[change.feed] = {
                "version": "1",
                "weights": encode(change.weights.as_dict()).decode(),
                "gates": encode(change.gates).decode(),
            }
        self.info[change.feed]["config_offset"] = str(change.config_offset)

    def ranking(self, feed: str) -> list[tuple[str, float]]:
        """As ZRANGE REV has it."""
        entries = self.feeds[feed].items()
        return sorted(entries, key=lambda one: (one[1], one[0].encode()), reverse=True)

    def feed_shown(self, feed: str) -> FeedSnapshot:
        return FeedSnapshot(feed, tuple(self.ranking(feed)), self.info[feed])

    def post_shown(self, post_id: str) -> PostSnapshot:
        return PostSnapshot(post_id, self.hashes[post_id])

    def value(self, post_id: str, name: str) -> float | None:
        """The value of a post's signal, short enough for a person to compare."""
        signal = self.post_shown(post_id).signal(name)
        return None if signal is None or signal.value is None else float(f"{signal.value:.4g}")
