"""What stands in Redis, read back: a feed with its `:info`, and what is true of a post.

For commands and the console.  Frontends need `feed:*` alone, see `examples/frontend.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Final, Literal

import msgspec
import orjson
import redis

from feedmill.events.errors import UsageError
from feedmill.events.gates import GatePolicy
from feedmill.events.override import Override, OverrideKey, parse_subject
from feedmill.events.rates import BASES
from feedmill.events.weights import Weights
from feedmill.rankers.combiner.overrides import ActiveOverride, OverrideTable
from feedmill.rankers.combiner.signal_columns import StoredSignal
from feedmill.rankers.combiner.signal_hash import PostVersion, decode_post, decode_signal
from feedmill.streams.redis.pipelines import open_client
from feedmill.streams.redis.scripts import Keys
from feedmill.streams.redis.writes import FRESH_MS

State = Literal["fresh", "starting", "stale"]

# Stages that are not up after this time will not come up by themselves.
STARTING_MS: Final = 60_000

_NOT_OBJECTIVES = ("scale", "costs", "half_life_hours", "max_per_author", "explore", "bases")


@dataclass(frozen=True)
class PostSnapshot:
    """The hash `signals:<post_id>`."""

    post_id: str
    fields: Mapping[str, str]

    @property
    def known(self) -> bool:
        return bool(self.fields)

    @cached_property
    def version(self) -> PostVersion:
        """The version of the post, one of offset -1 where the post is not known."""
        return decode_post(self.fields)

    @property
    def post_offset(self) -> int:
        return self.version.offset

    @property
    def created_ms(self) -> int:
        return self.version.created_ms

    @property
    def arrived_ms(self) -> int:
        """The timestamp of the post's record."""
        return self.version.arrived_ms

    @property
    def author_id(self) -> str:
        return self.fields.get("author_id", "")

    @property
    def decision(self) -> str:
        """Under the default gates; "" of a post that is not known."""
        return self.fields.get("decision", "show") if self.known else ""

    @property
    def decided_by(self) -> str:
        return self.fields.get("decided_by", "")

    def signal(self, name: str) -> StoredSignal | None:
        """The signal of this name, None where there is none yet."""
        return decode_signal(name, self.fields)

    def value(self, name: str, weights: Weights) -> float | None:
        """What counts of a signal: its value, the base of a rate without one, None without both."""
        signal = self.signal(name)
        value = None if signal is None else signal.value
        return weights.bases.get(name) if value is None and self.known else value

    @cached_property
    def override(self) -> Any:
        """The field `override` as JSON, None where there is none."""
        text = self.fields.get("override")
        return orjson.loads(text) if text else None

    def overrides(self, gates: Sequence[str], now_ms: int) -> dict[str, ActiveOverride]:
        """By gate the override in force, read from the field `override`."""
        table = OverrideTable()
        first = self.override or {}
        for override in (first, *first.get("others", ())) if first else ():
            kind, name = parse_subject(override["subject"])
            table.update(
                OverrideKey(kind, name, override["gate"]), msgspec.convert(override, Override)
            )
        return table.in_force(self.post_id, self.author_id, self.post_offset, gates, now_ms)


@dataclass(frozen=True)
class FeedSnapshot:
    """A feed, or the list of one of its arms, and its `:info`, taken in one MULTI.

    `arm` is `<experiment>.<arm>`, "" for the feed itself, which the control reads.
    """

    feed: str
    ranking: tuple[tuple[str, float], ...]
    info: Mapping[str, str]
    arm: str = ""

    @property
    def name(self) -> str:
        """The feed, and the arm if it is one."""
        return f"{self.feed} arm {self.arm}" if self.arm else self.feed

    @property
    def version(self) -> int:
        return int(self.info.get("version", "0"))

    @property
    def config_offset(self) -> int:
        return int(self.info.get("config_offset", "-1"))

    @cached_property
    def weights(self) -> Weights:
        weights = orjson.loads(self.info["weights"])
        names = [name for name in weights if name not in _NOT_OBJECTIVES]
        return Weights(
            objectives={name: weights[name] for name in names},
            scale={name: weights["scale"][name] for name in names},
            half_life_hours=weights["half_life_hours"],
            max_per_author=weights["max_per_author"],
            explore=weights["explore"],
            costs=weights.get("costs", {}),
            bases={**BASES, **weights.get("bases", {})},
        )

    @cached_property
    def gates(self) -> dict[str, GatePolicy]:
        return msgspec.json.decode(self.info["gates"], type=dict[str, GatePolicy])

    def fresh_for_ms(self, now_ms: int) -> int:
        """How long the feed counts as fresh from now on; below 0: it is stale."""
        return int(self.info.get("fresh_until_ms", "0")) - now_ms

    def owned_for_ms(self, now_ms: int) -> int:
        """How long ago its owner took it over."""
        # The token of a worker that ranks is the time of its claim.
        return now_ms - int(self.info.get("owned_since_ms") or self.info.get("owner", "0"))

    def state(self, now_ms: int) -> State:
        """Whether it is fresh; if not, whether its owner is new and has not called it so yet.

        Starting ends after `STARTING_MS`, whatever has happened by then.
        """
        left_ms, owned_ms = self.fresh_for_ms(now_ms), self.owned_for_ms(now_ms)
        if left_ms >= 0:
            return "fresh"
        called_fresh = left_ms + owned_ms >= FRESH_MS
        return "stale" if called_fresh or abs(owned_ms) > STARTING_MS else "starting"


class FeedReader:
    """Reads feeds and posts of one installation."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.client = client
        self._keys = Keys(prefix)

    @property
    def changes(self) -> str:
        """The channel on which changes of feeds are published."""
        return self._keys.feed_changes

    def feed(self, feed: str, top: int, arm: str = "") -> FeedSnapshot | None:
        """The first `top` of a feed, None where there is no such feed.

        With `arm`, `<experiment>.<arm>`, those of the list of that arm.
        """
        with self.client.pipeline(transaction=True) as pipe:
            pipe.zrange(self._keys.feed(feed, arm), 0, top - 1, desc=True, withscores=True)
            pipe.hgetall(self._keys.info(feed, arm))
            ranking, info = pipe.execute()
        if not info:
            return None
        pairs = tuple((_text(member), float(score)) for member, score in ranking)
        return FeedSnapshot(feed, pairs, _hash(info), arm)

    def arm_named(self, feed: str, arm: str) -> str:
        """Return `<experiment>.<arm>` of an arm of what runs in a feed; "" for the control.

        Raises
        ------
        UsageError
            Nothing runs there, or it has no such arm.
        """
        said: Any = self.client.hget(self._keys.info(feed), "experiment")
        running = orjson.loads(said or '{"name": "", "arms": []}')
        arms = [arm["name"] for arm in running["arms"]]
        if arm not in arms:
            there = f"the arms {', '.join(arms)} of `{running['name']}`" if arms else "none"
            raise UsageError(f"the feed `{feed}` has no arm `{arm}`; Redis has {there}")
        return "" if arm == arms[0] else f"{running['name']}.{arm}"

    def similar(self, feed: str) -> str:
        """Return a feed that exists and is called much like this one; "" without one."""
        found: Any = self.client.zrange(self._keys.feed_index, 0, -1)
        names = [_text(name) for name in found]
        close = get_close_matches(feed, names, 3, cutoff=0.7)
        return next((name for name in close if self.client.exists(self._keys.info(name))), "")

    def feeds(self) -> list[str]:
        """The feeds that exist, by name."""
        found: Any = self.client.zrange(self._keys.feed_index, 0, -1)
        with self.client.pipeline(transaction=False) as pipe:
            for name in found:
                pipe.exists(self._keys.info(_text(name)))
            there = pipe.execute() if found else []
        return sorted(_text(name) for name, is_there in zip(found, there, strict=True) if is_there)

    def posts(self, post_ids: Sequence[str]) -> list[PostSnapshot]:
        """What is true of these posts; without fields where Redis knows nothing of one."""
        with self.client.pipeline(transaction=False) as pipe:
            for post_id in post_ids:
                pipe.hgetall(self._keys.signals(post_id))
            hashes = pipe.execute()
        return [
            PostSnapshot(post_id, _hash(h)) for post_id, h in zip(post_ids, hashes, strict=True)
        ]

    def post(self, post_id: str) -> PostSnapshot:
        return self.posts([post_id])[0]

    def authors(self, post_ids: Sequence[str]) -> list[str]:
        """The authors of posts, "" where unknown."""
        with self.client.pipeline(transaction=False) as pipe:
            for post_id in post_ids:
                pipe.hget(self._keys.signals(post_id), "author_id")
            return [_text(author or b"") for author in pipe.execute()]


def open_feed_reader(url: str, prefix: str) -> FeedReader:
    """Connect to Redis, as `open_client`."""
    return FeedReader(open_client(url, socket_connect_timeout=5, socket_timeout=10), prefix)


def _hash(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in fields.items()}


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
