"""Which communities and authors get many hides and reports that are not believed."""

from __future__ import annotations

from collections import Counter

from feedmill.events.post import Post
from feedmill.streams.engagement.packed_states import PostState
from feedmill.streams.engagement.partition_state import PostSource

_MINUTE_MS = 60_000
_MINUTES = 10
# A source with so many of them in ten minutes is brigaded.
_MANY = 50
_SUM_EVERY_MS = 1_000
# Of so many sources a minute counts, and so many names are kept.
_MOST_SOURCES = 10_000


class Brigades:
    """The sources of the last ten minutes, by the clock; for an alarm alone, so not restored."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, int], str] = {}
        self._minutes: dict[int, Counter[tuple[str, int]]] = {}
        self._brigaded: list[str] = []
        self._summed_ms = 0

    def learn(self, post: Post, source: PostSource) -> None:
        """Learn what the sources of a post are called."""
        for kind, key, name in (
            ("community", source.community, (post.communities or ("",))[0]),
            ("author", source.author, post.author_id),
        ):
            self._names.pop((kind, key), None)
            self._names[kind, key] = name
        while len(self._names) > _MOST_SOURCES:
            del self._names[next(iter(self._names))]

    def doubt(self, state: PostState, now_ms: int) -> None:
        """Note a hide or report of a post that counts little or not at all."""
        found = self._minutes.setdefault(now_ms // _MINUTE_MS, Counter())
        for source in (("community", state.community), ("author", state.author)):
            if source[1] and (source in found or len(found) < _MOST_SOURCES):
                found[source] += 1
                # Of a post from before a restart nothing but the post is known.
                self._names.setdefault(source, f"of post {state.post_id}")

    def sources(self, now_ms: int) -> list[str]:
        """Return the brigaded sources, as `community:<name>` and `author:<id>`.

        They are summed up at most once a second.
        """
        if 0 <= now_ms - self._summed_ms < _SUM_EVERY_MS:
            return self._brigaded
        self._summed_ms = now_ms
        since = now_ms // _MINUTE_MS - _MINUTES
        self._minutes = {minute: n for minute, n in self._minutes.items() if minute > since}
        total = sum(self._minutes.values(), Counter[tuple[str, int]]())
        self._brigaded = sorted(
            f"{kind}:{self._names.get((kind, key), '')}"
            for (kind, key), count in total.items()
            if count >= _MANY
        )
        return self._brigaded
