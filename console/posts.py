"""The version of a post that is current, and what it says."""

from __future__ import annotations

from functools import cached_property

from feedmill.console.routes import Conflict, Console
from feedmill.console.shown import Shown
from feedmill.console.texts import Place, Texts
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.streams.kafka.topic_reader import count_partitions

_READ_S = 3.0


class Posts:
    """Posts by their ids, as Redis and Kafka have them.  Any thread may ask."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @cached_property
    def _partitions(self) -> int:
        return count_partitions(self._console.environment, ["posts"])["posts"]

    def version(self, post_id: str, offset: int) -> Post | None:
        """Return a version of a post; None where its record is gone, or did not come in time."""
        place = Place(partition_of(post_id.encode(), self._partitions), offset)
        return self._console.part(Texts).read([place], _READ_S).get(place)

    def check_version(self, post_id: str, shown_offset: int) -> None:
        """Raise `Conflict` with the new text unless the version that a page showed is current.

        Raises `NotFound` where Redis knows nothing of the post.
        """
        offset = self._console.part(Shown).post(post_id).post_offset
        if offset != shown_offset:
            post = self.version(post_id, offset)
            text = "" if post is None else f", and says now: {post.text}"
            raise Conflict(f"post `{post_id}` was edited meanwhile{text}. Nothing was written")

    def close(self) -> None:
        """Nothing is open."""
