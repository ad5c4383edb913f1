"""What the combiner's changes make of Redis, in dicts."""

import json
from collections.abc import Iterable
from typing import Any

from builders.contract_score import truth_of
from feedmill.rankers.combiner import FeedChange, SignalsChange


class RedisModel:
    """What the changes make of Redis."""

    def __init__(self) -> None:
        self.feeds: dict[str, dict[str, float]] = {}
        self.info: dict[str, dict[str, Any]] = {}
        # By feed its arms' lists and infos, as `<experiment>.<arm>`.
        self.arms: dict[str, RedisModel] = {}
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
            self.arms.pop(name, None)

    def _take_signals(self, change: SignalsChange) -> None:
        if not change.fields:
            self.hashes.pop(change.post_id, None)
            return
        assert change.whole or change.post_id in self.hashes
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
        self._take_info(change)
        if change.whole:
            self.arms[change.feed] = RedisModel()
        arms = self.arms[change.feed]
        assert all(arm.whole == change.whole for arm in change.arms)
        arms.take((), change.arms, ())
        assert arms.feeds.keys() == {arm.feed for arm in change.arms}

    def _take_info(self, change: FeedChange) -> None:
        if change.whole:
            info: dict[str, Any] = {
                "experiment": change.experiment,
                "weights": change.weights.shown(),
                "gates": dict(change.gates),
            }
            self.info[change.feed] = json.loads(json.dumps(info, default=_fields))

    def ranking(self, feed: str) -> list[tuple[str, float]]:
        """As ZRANGE REV has it."""
        entries = self.feeds[feed].items()
        return sorted(entries, key=lambda one: (one[1], one[0].encode()), reverse=True)

    def fields(self, post_id: str) -> dict[str, Any]:
        found = truth_of(self.hashes[post_id])
        if "override" in found:
            first = found["override"]
            shown = [first, *first.pop("others", [])]
            strength = ["hide", "demote", "allow"]
            assert first["verdict"] == min((o["verdict"] for o in shown), key=strength.index)
            found["override"] = {(o["subject"], o["gate"], o["verdict"]) for o in shown}
        return found


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
