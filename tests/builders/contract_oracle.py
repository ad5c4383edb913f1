"""The contract's rules for posts, signals, overrides and settings: dicts and sorting.

Written from the contract alone, to be compared with the combiner.
"""

from collections import Counter
from functools import cache
from hashlib import blake2b
from math import ceil, log2
from typing import Any

import numpy as np
from kafka.partitioner.default import murmur2

from builders.contract_score import BASES, score
from feedmill.events.override import Override, OverrideKey
from feedmill.events.post import Post
from feedmill.events.signal import Signal, SignalNames

NAMES = SignalNames.parse("extreme:gate,novelty:objective,grumble:cost")
GATES, OBJECTIVES, COSTS = NAMES.gates, NAMES.objectives, NAMES.costs
HOUR_MS = 3_600_000

DEFAULT_GATE = {
    "enabled": True,
    "shadow": False,
    "hide_at": 0.9,
    "demote_at": 0.6,
    "demote_factor": 0.5,
    "on_failure": "closed",
    "grace_s": 60,
}
DEFAULT_WEIGHTS = {"quality": 0.5, "engagement": 0.5}
DEFAULT_SCALE = {"quality": 1.0, "engagement": 36.0, "novelty": 1.0}
DEFAULT_COSTS = {"hide": 4.0, "report": 18.0, "grumble": 0.0}
DEFAULT_FEED = {"match": {}, "size": 500, "window_hours": 168, "include_replies": False}
PATTERNS = ("community:*", "lang:*")


@cache
def shard_of(name: str) -> int:
    """The shard of a feed or a post: the partition that Kafka's clients choose, of 64."""
    hashed: int = murmur2(name.encode("utf-8", "surrogatepass"))
    return (hashed & 0x7FFFFFFF) % 64


class Oracle:
    """What follows from the records so far, by the contract."""

    def __init__(self) -> None:
        self.posts: dict[str, dict[str, Any]] = {}
        # By post and signal everything accepted, oldest first.
        self.signals: dict[tuple[str, str], list[Signal]] = {}
        self.received_ms: dict[str, int] = {}
        self.overrides: dict[OverrideKey, Override] = {}
        self.settings: dict[str, dict[str, Any]] = {}

    def post(self, post: Post, offset: int, timestamp_ms: int) -> None:
        if post.post_id in self.posts and self.posts[post.post_id]["offset"] >= offset:
            return
        created_ms = min(post.created_at_ms, timestamp_ms)
        self.posts[post.post_id] = {
            "post": post,
            "offset": offset,
            "created_ms": created_ms,
            "arrived_ms": timestamp_ms,
        }

    def delete(self, post_id: str, offset: int) -> None:
        if self.posts.get(post_id, {"offset": -1})["offset"] >= offset:
            return
        self.posts.pop(post_id, None)
        for name in NAMES.all:
            received = self.signals.get((post_id, name), [])
            self.signals[post_id, name] = [one for one in received if one.post_offset > offset]
        waiting = [one.at_ms for name in NAMES.all for one in self.signals[post_id, name]]
        self.received_ms[post_id] = max(waiting, default=0)

    def signal(self, name: str, signal: Signal) -> None:
        received = self.signals.setdefault((signal.post_id, name), [])
        if received and _order(signal) < _order(received[-1]):
            return
        received.append(signal)
        self.received_ms[signal.post_id] = signal.at_ms

    def clear(self, name: str, post_id: str) -> None:
        self.signals.pop((post_id, name), None)

    def override(self, key: OverrideKey, override: Override | None) -> None:
        self.overrides.pop(key, None)
        if override is not None:
            self.overrides[key] = override

    def forget(self, now_ms: int) -> None:
        """What is older than every window is gone for good."""
        cutoff = now_ms - self.longest_ms()
        ids = {post_id for post_id, _ in self.signals} | set(self.posts)
        for post_id in ids:
            post = self.posts.get(post_id)
            at_ms = self.received_ms.get(post_id, 0) if post is None else post["created_ms"]
            if at_ms < cutoff:
                self.posts.pop(post_id, None)
                for name in NAMES.all:
                    self.clear(name, post_id)

    def longest_ms(self) -> int:
        names = {"global", *PATTERNS, *self.declared()}
        return max(int(self.spec(name)["window_hours"] * HOUR_MS) for name in names)

    # Settings

    def declared(self) -> list[str]:
        names = [key[6:] for key in self.settings if key.startswith("feeds/")]
        return [name for name in names if "*" not in name]

    def running(self, feed: str) -> tuple[str, dict[str, Any]] | None:
        """Name and value of the experiment in a feed."""
        for key, value in self.settings.items():
            if key.startswith("experiments/") and not value["stopped"] and feed in value["feeds"]:
                return key.removeprefix("experiments/"), value
        return None

    def arms(self, feed: str) -> dict[str, dict[str, Any]]:
        """The arms but the control, as `<experiment>.<arm>`; their lists are `<feed>@` and that."""
        name, value = self.running(feed) or ("", {"arms": []})
        return {f"{name}.{arm['name']}": arm for arm in value["arms"][1:]}

    def spec(self, feed: str) -> dict[str, Any]:
        feed = feed.partition("@")[0]
        pattern = feed.partition(":")[0] + ":*"
        own = self.settings.get("feeds/" + feed)
        if own is None and pattern in PATTERNS:
            own = self.settings.get("feeds/" + pattern)
        return {**DEFAULT_FEED, **(own or {})}

    def weights(self, feed: str) -> dict[str, Any]:
        feed, _, arm = feed.partition("@")
        if arm:
            return self._arm_weights(feed, self.arms(feed)[arm].get("weights", {}))
        own = self.settings.get("weights/" + feed) or self.settings.get("weights")
        found: dict[str, Any] = {"half_life_hours": 24, "max_per_author": 3}
        found |= own or DEFAULT_WEIGHTS
        return self._with_bases(self._without_nothing(found, DEFAULT_COSTS))

    def _arm_weights(self, feed: str, patch: dict[str, Any]) -> dict[str, Any]:
        found = {**self.weights(feed), **patch}
        for part in ("scale", "costs"):
            found[part] = {**self.weights(feed).get(part, {}), **patch.get(part, {})}
        found = self._with_bases(self._without_nothing(found, {}))
        return found if any(found.get(name) for name in OBJECTIVES) else self.weights(feed)

    def _with_bases(self, found: dict[str, Any]) -> dict[str, Any]:
        weighed = [name for name in found["scale"] if found[name]] + [*found.get("costs", {})]
        found["bases"] = {name: self.base(name) for name in weighed if name in BASES}
        return found if found["bases"] else {n: v for n, v in found.items() if n != "bases"}

    def base(self, name: str) -> float:
        """What a signal is of a post that has none."""
        own = self.settings.get("rates", {}).get(name)
        if own is None:
            return float(np.float32(BASES.get(name, 0.0)))
        return float(np.float32(2 ** (round(32 * log2(own["base"])) / 32)))

    def _without_nothing(self, found: dict[str, Any], costs: dict[str, float]) -> dict[str, Any]:
        found["scale"] = {**DEFAULT_SCALE, **found.get("scale", {})}
        # What weighs nothing is left out, but for the two that every setting names.
        for name in [n for n in OBJECTIVES[2:] if not found.get(n)]:
            found.pop(name, None)
            found["scale"].pop(name, None)
        costs = {**costs, **found.pop("costs", {})}
        if costs := {name: cost for name, cost in costs.items() if cost}:
            found["costs"] = costs
        return found

    def gates(self, feed: str) -> dict[str, dict[str, Any]]:
        feed, _, arm = feed.partition("@")
        if arm:
            patches = self.arms(feed)[arm].get("gates", {})
            return {
                name: _stricter(policy, {**policy, **patches.get(name, {})})
                for name, policy in self.gates(feed).items()
            }
        general = self.settings.get("gates", {})
        own = self.settings.get("gates/" + feed, {}) if feed else {}
        return {
            name: {**DEFAULT_GATE, **general.get(name, {}), **own.get(name, {})} for name in GATES
        }

    # What follows

    def seen(self, post_id: str, name: str) -> Signal | None:
        """The signal in force: the last of those whose version of the post is there."""
        offset = self.posts[post_id]["offset"]
        found = [s for s in self.signals.get((post_id, name), []) if s.post_offset <= offset]
        return found[-1] if found else None

    def last_good(self, post_id: str, name: str) -> float:
        good = self._good(post_id, name)
        return float(np.float32(good[-1] if good else self.base(name)))

    def _good(self, post_id: str, name: str) -> list[float]:
        offset = self.posts[post_id]["offset"]
        received = self.signals.get((post_id, name), [])
        return [s.value for s in received if s.post_offset <= offset and s.value is not None]

    def in_force(self, post_id: str, gate: str, now_ms: int) -> tuple[OverrideKey, Override] | None:
        post = self.posts[post_id]
        author = post["post"].author_id
        for key in (
            OverrideKey("post", post_id, gate),
            OverrideKey("post", post_id, "*"),
            OverrideKey("author", author, gate),
            OverrideKey("author", author, "*"),
        ):
            one = self.overrides.get(key)
            if one is None or (one.expires_at_ms is not None and one.expires_at_ms <= now_ms):
                continue
            if one.verdict == "allow" and one.post_offset not in (None, post["offset"]):
                continue
            return key, one
        return None

    def decide(self, post_id: str, feed: str, now_ms: int) -> tuple[str, str | None, float]:
        """The decision, who decided, and the demote factor."""
        gates = self.gates(feed)
        verdicts: list[tuple[str, str]] = []
        factor, smallest = 1.0, 1.0
        for name, gate in gates.items():
            found = self.in_force(post_id, name, now_ms)
            if found is None:
                own_verdicts, own = self._own_verdicts(post_id, name, gate, now_ms)
                verdicts += own_verdicts
                factor *= own
                continue
            key, one = found
            verdicts.append(({"allow": "show"}.get(one.verdict, one.verdict), f"override:{one.by}"))
            if one.verdict == "demote" and key.gate == "*":
                counted = [g for g in gates.values() if g["enabled"] and not g["shadow"]]
                smallest = min(g["demote_factor"] for g in counted or gates.values())
            elif one.verdict == "demote":
                factor *= gate["demote_factor"]
        factor *= smallest
        for decision in ("hide", "hold", "demote", "show"):
            by = [who for what, who in verdicts if what == decision]
            if by:
                return decision, by[0], factor
        return "show", None, factor

    def _own_verdicts(
        self, post_id: str, name: str, gate: dict[str, Any], now_ms: int
    ) -> tuple[list[tuple[str, str]], float]:
        """The decisions of a gate's own signal, each with its label, and the demote factor."""
        if not gate["enabled"] or gate["shadow"]:
            return [], 1.0
        post, signal = self.posts[post_id], self.seen(post_id, name)
        if signal is None or signal.post_offset != post["offset"]:
            value, label = None, f"{name}@none"
        else:
            value, label = signal.value, f"{name}@{signal.version}"
        if value is None:
            waited_ms = now_ms - post["arrived_ms"]
            held = gate["on_failure"] == "closed" or waited_ms < gate["grace_s"] * 1000
            return [("hold", label)] if held else [], 1.0
        value, verdicts, factor = float(np.float32(value)), [], 1.0
        if gate["hide_at"] is not None and value >= gate["hide_at"]:
            verdicts.append(("hide", label))
        if gate["demote_at"] is not None and value >= gate["demote_at"]:
            factor = gate["demote_factor"]
            verdicts += [("demote", label)] if factor < 1 else []
        return verdicts, factor

    def score(self, post_id: str, feed: str, factor: float) -> float:
        truth = {name: {"value": self.last_good(post_id, name)} for name in OBJECTIVES + COSTS}
        created_ms = self.posts[post_id]["created_ms"]
        return score({**truth, "created_ms": created_ms}, self.weights(feed), factor)

    def matches(self, post_id: str, feed: str, now_ms: int) -> bool:
        feed = feed.partition("@")[0]
        post, spec = self.posts[post_id]["post"], self.spec(feed)
        if self.posts[post_id]["created_ms"] < now_ms - int(spec["window_hours"] * HOUR_MS):
            return False
        if post.in_reply_to is not None and not spec["include_replies"]:
            return False
        kind, colon, value = feed.partition(":")
        if colon:
            return value in (post.communities or ()) if kind == "community" else value == post.lang
        match, communities = spec["match"], {*(post.communities or ())}
        return (
            ("communities" not in match or bool({*match["communities"]} & communities))
            and ("langs" not in match or post.lang in match["langs"])
            and ("authors" not in match or post.author_id in match["authors"])
        )

    def feed(self, feed: str, now_ms: int) -> list[tuple[str, float]]:
        entries = []
        for post_id in self.posts:
            if self.matches(post_id, feed, now_ms):
                decision, _, factor = self.decide(post_id, feed, now_ms)
                if decision in ("show", "demote"):
                    entries.append((post_id, self.score(post_id, feed, factor)))
        # Scores of equal worth may differ by a rounding; none here are nearer without being equal.
        entries.sort(key=lambda one: (round(one[1], 9), one[0].encode()), reverse=True)
        most, taken, kept = self.weights(feed)["max_per_author"], dict[str, int](), []
        for post_id, value in entries:
            author = self.posts[post_id]["post"].author_id
            taken[author] = taken.get(author, 0) + 1
            if most is None or taken[author] <= most:
                kept.append((post_id, value))
        return kept[: self.spec(feed)["size"]]

    def candidates(self, now_ms: int) -> set[str]:
        """Feeds on demand that exist, unless `max_feeds` keeps them away: a post is shown there."""
        found: set[str] = set()
        for post_id, held in self.posts.items():
            names = [f"community:{c}" for c in held["post"].communities or ()]
            names += [f"lang:{held['post'].lang}"] if held["post"].lang else []
            found |= {name for name in names if self._is_shown(post_id, name, now_ms)}
        return found.difference(self.declared())

    def on_demand(self, now_ms: int) -> set[str]:
        """The feeds on demand that exist once places were given."""
        exist: set[str] = set()
        candidates = self.candidates(now_ms)
        for pattern in PATTERNS:
            kind = pattern.removesuffix("*")
            authors: dict[str, set[str]] = {}
            for feed in sorted(candidates):
                if feed.startswith(kind):
                    shown = [p for p in self.posts if self._is_shown(p, feed, now_ms)]
                    authors[feed] = {self.posts[p]["post"].author_id for p in shown}
            order = sorted(authors, key=lambda feed: self._claim(feed, authors))
            for shard in range(64):
                of_shard = [feed for feed in order if shard_of(feed) == shard]
                exist |= {*of_shard[: self.places(pattern)]}
        return exist

    def places(self, pattern: str) -> int:
        """How many feeds on demand a pattern has in a shard."""
        most: int = self.spec(pattern).get("max_feeds", 2048)
        return ceil(most / 64)

    def _claim(self, feed: str, authors: dict[str, set[str]]) -> tuple[int, bytes]:
        """What feeds of a pattern are ordered by where places are short."""
        of_author = Counter(author for each in authors.values() for author in each)
        shared = sum(720_720 // of_author[author] for author in authors[feed])
        return -shared.bit_length(), blake2b(feed.encode(), digest_size=8).digest()

    def _is_shown(self, post_id: str, feed: str, now_ms: int) -> bool:
        decision, _, _ = self.decide(post_id, feed, now_ms)
        return decision in ("show", "demote") and self.matches(post_id, feed, now_ms)

    def fields(self, post_id: str, now_ms: int) -> dict[str, Any]:
        """`signals:<post_id>`, JSON decoded; `override` as the set of what is in force."""
        held = self.posts[post_id]
        found: dict[str, Any] = {
            "post_offset": str(held["offset"]),
            "author_id": held["post"].author_id,
            "created_ms": str(held["created_ms"]),
        }
        if held["arrived_ms"] != held["created_ms"]:
            found["arrived_ms"] = str(held["arrived_ms"])
        for name in NAMES.all:
            signal = self.seen(post_id, name)
            if signal is None:
                continue
            value = signal.value if signal.value is None else float(np.float32(signal.value))
            if name not in GATES and (self._good(post_id, name) or name not in BASES):
                value = self.last_good(post_id, name)
            found[name] = {
                "value": value,
                "model": signal.model,
                "version": signal.version,
                "post_offset": signal.post_offset,
                "at_ms": signal.at_ms,
            }
            if signal.error is not None:
                found[name]["error"] = signal.error
        decision, by, _ = self.decide(post_id, "", now_ms)
        found["decision"] = decision
        if by is not None:
            found["decided_by"] = by
        overrides = {
            (key.subject, key.gate, override.verdict)
            for gate in GATES
            for key, override in filter(None, [self.in_force(post_id, gate, now_ms)])
        }
        if overrides:
            found["override"] = overrides
        return found


def _order(signal: Signal) -> tuple[int, int]:
    return signal.post_offset, signal.revision


def _stricter(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The stricter of two policies of a gate, field by field where both are followed."""
    required = [each for each in (one, other) if each["enabled"] and not each["shadow"]]
    if len(required) < 2:
        return required[0] if required else other
    both = {name: [one[name], other[name]] for name in one}
    lowest = ("hide_at", "demote_at", "demote_factor")
    found = {
        name: min((at for at in both[name] if at is not None), default=None) for name in lowest
    }
    on_failure = "closed" if "closed" in both["on_failure"] else "open"
    return {**one, **found, "on_failure": on_failure, "grace_s": max(both["grace_s"])}
