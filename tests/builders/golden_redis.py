"""What `explain` is shown of a model of Redis."""

from builders.redis_model import RedisModel
from feedmill.events.decode import encode
from feedmill.rankers.combiner import FeedChange
from feedmill.streams.redis.reader import FeedSnapshot, PostSnapshot


class ShownRedis(RedisModel):
    """The same model, with the infos of feeds as the texts that Redis has."""

    def _take_info(self, change: FeedChange) -> None:
        if change.whole:
            self.info[change.feed] = {
                "version": "1",
                "weights": encode(change.weights.as_dict()).decode(),
                "gates": encode(change.gates).decode(),
            }
        self.info[change.feed]["config_offset"] = str(change.config_offset)

    def feed_shown(self, feed: str) -> FeedSnapshot:
        return FeedSnapshot(feed, tuple(self.ranking(feed)), self.info[feed])

    def post_shown(self, post_id: str) -> PostSnapshot:
        return PostSnapshot(post_id, self.hashes[post_id])

    def value(self, post_id: str, name: str) -> float | None:
        """The value of a post's signal, short enough for a person to compare."""
        signal = self.post_shown(post_id).signal(name)
        return None if signal is None or signal.value is None else float(f"{signal.value:.4g}")
