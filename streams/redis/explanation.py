"""Why a post stands where it stands: from Redis alone, in numbers that add up.  Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from feedmill.events.gates import GatePolicy
from feedmill.events.signal import RULE_MODEL
from feedmill.rankers.combiner.gating import Decision, GateVerdict, decide_one, smallest_factor
from feedmill.rankers.combiner.overrides import ActiveOverride
from feedmill.rankers.score import LEAST_SUM, recency_of, score_of
from feedmill.streams.redis.reader import FeedSnapshot, PostSnapshot, SignalSnapshot

TOLERANCE = 1e-9

GateOutcome = Literal["show", "demote", "hide", "hold"]


@dataclass(frozen=True)
class ObjectiveTerm:
    """What one objective gives to the sum."""

    name: str
    value: float | None
    weight: float
    scale: float
    version: str

    @property
    def contribution(self) -> float:
        return self.weight * self.scale * (self.value or 0.0)


@dataclass(frozen=True)
class GateTerm:
    """What one gate says, what follows, and the factor that it applies."""

    name: str
    outcome: GateOutcome
    value: float | None
    version: str
    factor: float
    text: str


@dataclass(frozen=True)
class Explanation:
    """A post under the weights and gates of one feed.

    `score` is the sum's logarithm, that of the factor, and the recency; it is what a
    shown post scores, whether or not this one is shown.
    """

    post: PostSnapshot
    feed: FeedSnapshot
    objectives: tuple[ObjectiveTerm, ...]
    gates: tuple[GateTerm, ...]
    decision: Decision
    total: float
    recency: float
    score: float
    in_redis: float | None
    verdict: str

    @property
    def factor(self) -> float:
        return self.decision.factor

    @property
    def agrees(self) -> bool | None:
        """Whether Redis holds this very score; None where the post is not in the feed."""
        return None if self.in_redis is None else abs(self.in_redis - self.score) <= TOLERANCE

    def as_dict(self) -> dict[str, Any]:
        objectives = [
            {**msgspec.to_builtins(one), "contribution": one.contribution}
            for one in self.objectives
        ]
        return {
            "post_id": self.post.post_id,
            "feed": self.feed.feed,
            "version": self.feed.version,
            "config_offset": self.feed.config_offset,
            "verdict": self.verdict,
            "decision": self.decision.name,
            "decided_by": self.decision.decided_by,
            "override": self.post.override,
            "post_offset": self.post.post_offset,
            "author_id": self.post.author_id,
            "created_ms": self.post.created_ms,
            "objectives": objectives,
            "sum": self.total,
            "log2_sum": math.log2(max(self.total, LEAST_SUM)),
            "gates": [msgspec.to_builtins(gate) for gate in self.gates],
            "factor": self.factor,
            "log2_factor": math.log2(self.factor),
            "recency": self.recency,
            "score": self.score,
            "score_in_redis": self.in_redis,
            "agrees": self.agrees,
        }


def explain(
    post: PostSnapshot, feed: FeedSnapshot, in_redis: float | None, absent: str, now_ms: int
) -> Explanation:
    """Recompute decision and score of a post under the policy of a feed.

    Parameters
    ----------
    post, feed, in_redis
        As Redis shows them, the score None where the post is not in the feed.
    absent
        Why a post that may be shown is not in the feed (`why_absent`).
    now_ms
        The time, for overrides that run out.
    """
    weights, policies = feed.weights, feed.gates
    in_force = post.overrides(tuple(policies), now_ms)
    verdicts = {name: _verdict(post, name) for name in policies}
    decision = decide_one(policies, verdicts, in_force, post.created_ms, now_ms)
    values = {name: _value(post.signal(name)) for name in weights.objectives}
    objectives = tuple(
        ObjectiveTerm(name, values[name], weight, weights.scale[name], _version(post, name))
        for name, weight in weights.objectives.items()
    )
    gates = _gates(post, policies, in_force, now_ms)
    return Explanation(
        post=post,
        feed=feed,
        objectives=objectives,
        gates=gates,
        decision=decision,
        total=sum(one.contribution for one in objectives),
        recency=recency_of(weights, post.created_ms),
        score=score_of(weights, values, decision.factor, post.created_ms),
        in_redis=in_redis,
        verdict=_in_words(decision, gates, absent),
    )


def why_absent(feed: FeedSnapshot, post: PostSnapshot, score: float, authors: Iterable[str]) -> str:
    """Why a post that may be shown is not in a feed, as far as Redis can tell.

    `feed` must be whole, and `authors` those of its posts in order.
    """
    most = feed.weights.max_per_author
    better = [
        at
        for (_, at), author in zip(feed.ranking, authors, strict=True)
        if author == post.author_id and at >= score
    ]
    if most is not None and post.author_id and len(better) >= most:
        return f"{len(better)} better posts of author {post.author_id} reach the limit of {most}"
    other = "it is older than the feed's window, or does not match the feed"
    if feed.ranking and score <= feed.ranking[-1][1]:
        return f"its score is below that of all {len(feed.ranking)} posts kept, or {other}"
    return other


def _verdict(post: PostSnapshot, name: str) -> GateVerdict:
    signal = post.signal(name)
    if signal is None or signal.post_offset != post.post_offset:
        return GateVerdict(None, f"{name}@none")
    return GateVerdict.of(name, signal.value, signal.model, signal.version)


def _value(signal: SignalSnapshot | None) -> float | None:
    return None if signal is None else signal.value


def _version(post: PostSnapshot, name: str) -> str:
    signal = post.signal(name)
    if signal is None:
        return ""
    return f"rule:{signal.version}" if signal.model == RULE_MODEL else signal.version


def _gates(
    post: PostSnapshot,
    policies: Mapping[str, GatePolicy],
    in_force: Mapping[str, ActiveOverride],
    now_ms: int,
) -> tuple[GateTerm, ...]:
    lines = []
    for name, gate in policies.items():
        over = in_force.get(name)
        outcome, text = _judged(post, name, gate, now_ms) if over is None else _overridden(over)
        applies = _is_demoting(post, name, gate) if over is None else _is_named_demotion(over)
        factor = gate.demote_factor if applies else 1.0
        value, version = _value(post.signal(name)), _version(post, name)
        lines.append(GateTerm(name, outcome, value, version, factor, text))
    for over in in_force.values():
        if over.key.gate == "*" and over.override.verdict == "demote":
            text = f"{_overridden(over)[1]}; the smallest factor, once"
            lines.append(GateTerm("*", "demote", None, "", smallest_factor(policies), text))
            break
    return tuple(lines)


def _is_demoting(post: PostSnapshot, name: str, gate: GatePolicy) -> bool:
    value = _verdict(post, name).value
    if not gate.required or value is None or gate.demote_at is None:
        return False
    return value >= gate.demote_at


def _is_named_demotion(over: ActiveOverride) -> bool:
    return over.override.verdict == "demote" and over.key.gate != "*"


def _overridden(over: ActiveOverride) -> tuple[GateOutcome, str]:
    said = over.override
    reason = f" ({said.reason})" if said.reason else ""
    outcome: GateOutcome = "show" if said.verdict == "allow" else said.verdict
    return outcome, f"the override of {said.by} says {said.verdict}{reason}"


def _judged(
    post: PostSnapshot, name: str, gate: GatePolicy, now_ms: int
) -> tuple[GateOutcome, str]:
    """What follows from a gate's own verdict; mirrors `gating.decide_one`, with words."""
    signal = post.signal(name)
    if not gate.required:
        return "show", "in shadow, not followed" if gate.enabled else "off"
    if signal is None or signal.post_offset != post.post_offset:
        seen = "" if signal is None else f", only version {signal.post_offset}"
        missing = f"{name} has not judged version {post.post_offset}{seen}"
        return _without_verdict(post, gate, missing, now_ms)
    if signal.value is None:
        return _without_verdict(post, gate, f"{name} failed: {signal.error}", now_ms)
    shown = f"{name} {signal.value:.6g}"
    if signal.model == RULE_MODEL:
        shown += f" by the rule `{signal.version}`"
    if gate.hide_at is not None and signal.value >= gate.hide_at:
        return "hide", f"{shown} ≥ {gate.hide_at:g}"
    if gate.demote_at is not None and signal.value >= gate.demote_at:
        return "demote", f"{shown} ≥ {gate.demote_at:g}"
    least = next((t for t in (gate.demote_at, gate.hide_at) if t is not None), None)
    return "show", shown if least is None else f"{shown} < {least:g}"


def _without_verdict(
    post: PostSnapshot, gate: GatePolicy, why: str, now_ms: int
) -> tuple[GateOutcome, str]:
    if gate.on_failure == "closed":
        return "hold", why
    waited = post.created_ms + int(gate.grace_s * 1000) <= now_ms
    return "show" if waited else "hold", f"{why} (shown without it after {gate.grace_s:g} s)"


def _in_words(decision: Decision, gates: Iterable[GateTerm], absent: str) -> str:
    reasons = [gate.text for gate in gates if gate.outcome == decision.name]
    because = " because " + "; ".join(dict.fromkeys(reasons))
    if decision.name in ("hide", "hold"):
        return ("hidden" if decision.name == "hide" else "held") + because
    shown = "shown" if decision.name == "show" else "demoted" + because
    return f"{shown}, but not in this feed: {absent}" if absent else shown
