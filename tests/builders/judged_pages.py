"""Pages of readers judged by the topics alone, at the offsets that each page names."""

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from builders.engine import GATES, Engine
from builders.engine_topics import Record, committed_records

HIDE_AT = 0.9
Offsets = Mapping[str, Mapping[str, int]]


class Logs:
    """All records of posts, overrides and gates by topic and key."""

    def __init__(self, engine: Engine) -> None:
        self._records = defaultdict[tuple[str, str], list[Record]](list)
        topics = ("posts", "overrides", *(f"signals.{gate}" for gate in GATES))
        for one in committed_records(engine.kafka, *(engine.topic(name) for name in topics)):
            topic = one.topic.removeprefix(engine.prefix)
            self._records[topic, one.key.decode()].append(one)

    def last(self, topic: str, key: str, read: Offsets) -> tuple[int, Any]:
        """The offset and value of the last record of a key that was read; -1 and None if none."""
        found = self._records.get((topic, key), [])
        end = read[topic].get(str(found[0].partition), 0) if found else 0
        place = bisect_left(found, end, key=lambda one: one.offset)
        if not place:
            return -1, None
        one = found[place - 1]
        return one.offset, json.loads(one.value) if one.value else None

    def complaints(self, page: Mapping[str, Any]) -> Iterable[str]:
        """Say which posts the page must not show, since what was read says otherwise."""
        read = page["offsets"]
        for post in page["posts"]:
            post_id, version = post["post_id"], post["post_offset"]
            offset, value = self.last("posts", post_id, read)
            if offset != version or value is None:
                yield f"{post_id}: version {version}, but {offset} was read, {value}"
            for subject in (f"post:{post_id}|*", f"author:{post['author_id']}|*"):
                if self.last("overrides", subject, read)[1] is not None:
                    yield f"{post_id}: hidden by {subject}"
            for gate in GATES:
                signal = self.last(f"signals.{gate}", post_id, read)[1]
                if signal is None or signal["post_offset"] != version or signal["value"] >= HIDE_AT:
                    yield f"{post_id}: {gate} says {signal} of version {version}"
