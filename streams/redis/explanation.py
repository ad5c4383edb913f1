"""Why a post stands where it stands: from Redis alone, in numbers that add up.  Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from feedmill.events.feeds import FeedSpec
from feedmill.events.gates import GatePolicy
from feedmill.events.post import Post
from feedmill.events.signal import RULE_MODEL
from feedmill.rankers.combiner.gate_decisions import (
    DECISIONS,
    Decision,
    DecisionName,
    GateOutcome,
    GateVerdict,
    decide_one,
    outcomes_of,
    smallest_factor,
)
from feedmill.rankers.combiner.overrides import ActiveOverride
from feedmill.rankers.combiner.signal_columns import StoredSignal
from feedmill.rankers.score import HOUR_MS, LEAST_SUM, recency_of, score_of
from feedmill.streams.redis.reader import FeedSnapshot, PostSnapshot

TOLERANCE = 1e-9


@dataclass(frozen=True)
class ObjectiveTerm:
    """What one objective adds to the sum."""

    name: str
    value: float | None
    weight: float
    scale: float
    version: str

    @property
    def contribution(self) -> float:
        return self.weight * self.scale * (self.value or 0.0)


@dataclass(frozen=True)
class CostTerm:
    """What one cost takes from the score: `contribution` is 0 or below."""

    name: str
    value: float | None
    cost: float
    version: str

    @property
    def contribution(self) -> float:
        return 0.0 - self.cost * (self.value or 0.0)


@dataclass(frozen=True)
class GateTerm:
    """What one gate does to the post, why, and the factor that it applies."""

    name: str
    outcome: DecisionName
    value: float | None
    version: str
    factor: float
    text: str


@dataclass(frozen=True)
class Explanation:
    """A post under the weights and gates of one feed.

    `score` adds the logarithms of the sum and of the factor, the costs and the recency.  It is
    what the post scores if it is shown.
    """

    post: PostSnapshot
    feed: FeedSnapshot
    objectives: tuple[ObjectiveTerm, ...]
    costs: tuple[CostTerm, ...]
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
    def rank(self) -> int | None:
        """The place of the post in the feed, 1 for the first; None where it is not in it."""
        members = [member for member, _ in self.feed.ranking]
        return members.index(self.post.post_id) + 1 if self.post.post_id in members else None

    @property
    def agrees(self) -> bool | None:
        """Whether Redis holds this very score; None where the post is not in the feed."""
        return None if self.in_redis is None else abs(self.in_redis - self.score) <= TOLERANCE

    def as_dict(self) -> dict[str, Any]:
        objectives, costs = (
            [{**msgspec.to_builtins(term), "contribution": term.contribution} for term in terms]
            for terms in (self.objectives, self.costs)
        )
        return {
            "post_id": self.post.post_id,
            "feed": self.feed.feed,
            **({"arm": self.feed.arm} if self.feed.arm else {}),
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
            "costs": costs,
            "recency": self.recency,
            "score": self.score,
            "score_in_redis": self.in_redis,
            "rank": self.rank,
            "agrees": self.agrees,
        }


def explain(
    post: PostSnapshot,
    feed: FeedSnapshot,
    in_redis: float | None,
    absent: str,
    now_ms: int,
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> Explanation:
    """Recompute decision and score of a post under the policy of a feed, as of a time.

    `in_redis` is the score that Redis shows, None where the post is not in the feed, and `absent`
    why a post that may be shown is not there (`why_absent`).  `reasons` has by gate what its signal
    states as its `reason`, such as a near copy.
    """
    weights, policies = feed.weights, feed.gates
    outcomes = _outcomes(post, policies, post.overrides(tuple(policies), now_ms), now_ms)
    decision = decide_one(policies, outcomes)
    named = (*weights.objectives, *weights.costs)
    values = {name: post.value(name, weights) for name in named}
    objectives = tuple(
        ObjectiveTerm(name, values[name], weight, weights.scale[name], _version(post, name))
        for name, weight in weights.objectives.items()
    )
    costs = tuple(
        CostTerm(name, values[name], cost, _version(post, name))
        for name, cost in weights.costs.items()
    )
    gates = tuple(_gate_terms(post, policies, outcomes, reasons))
    return Explanation(
        post=post,
        feed=feed,
        objectives=objectives,
        costs=costs,
        gates=gates,
        decision=decision,
        total=sum(term.contribution for term in objectives),
        recency=recency_of(weights, post.created_ms),
        score=score_of(weights, values, decision.factor, post.created_ms),
        in_redis=in_redis,
        verdict=_in_words(decision, gates, absent),
    )


class FeedEntry(NamedTuple):
    """What decides whether a post may be in a feed: what goes into it, and the post's record."""

    spec: FeedSpec
    record: Post


def why_absent(
    feed: FeedSnapshot,
    post: PostSnapshot,
    score: float,
    authors: Iterable[str],
    entry: FeedEntry | None,
    now_ms: int,
) -> str:
    """Why a post that may be shown is not in a feed; `entry` is None where Kafka does not tell.

    `feed` must be whole, and `authors` those of its posts in order.
    """
    if entry is not None and (reason := _not_taken(feed.feed, post, entry, now_ms)):
        return reason
    limit = feed.weights.max_per_author
    better = [
        member_score
        for (_, member_score), author in zip(feed.ranking, authors, strict=True)
        if author == post.author_id and member_score >= score
    ]
    if limit is not None and post.author_id and len(better) >= limit:
        return f"{len(better)} better posts of author {post.author_id} reach the limit of {limit}"
    kept, last = len(feed.ranking), feed.ranking[-1][1] if feed.ranking else -math.inf
    below = f"its score {score:.6f} is below {last:.6f}, that of the last of {kept} posts"
    if entry is None:
        other = "it is older than the feed's window, or does not match the feed"
        return f"{below}, or {other}" if score <= last else other
    if score <= last and kept >= entry.spec.size:
        return f"{below}, as many as the feed keeps"
    return "it belongs into it, and will be there in a moment; ask again"


def _not_taken(feed: str, post: PostSnapshot, entry: FeedEntry, now_ms: int) -> str:
    """Why a feed does not take a post, whatever its score; "" where it does."""
    spec, record = entry.spec, entry.record
    hours = (now_ms - post.created_ms) / HOUR_MS
    if hours > spec.window_hours:
        return f"it is {hours:.1f} h old, and the feed takes posts of {spec.window_hours:g} h"
    if record.in_reply_to is not None and not spec.include_replies:
        return "it is a reply, and the feed takes none (`include_replies`)"
    kind, colon, name = feed.partition(":")
    wanted: list[tuple[str, Sequence[str], Sequence[str]]] = [
        ("communities", spec.match.communities, record.communities or ()),
        ("langs", spec.match.langs, (record.lang,) if record.lang else ()),
        ("authors", spec.match.authors, (record.author_id,)),
    ]
    if colon:
        number = 0 if kind == "community" else 1
        wanted = [(wanted[number][0], (name,), wanted[number][2])]
    for field, taken, given in wanted:
        if taken and set(taken).isdisjoint(given):
            of_post = ", ".join(given) or "none"
            return f"the feed takes the {field} {', '.join(taken)}, and the post has {of_post}"
    return ""


def _outcomes(
    post: PostSnapshot,
    policies: Mapping[str, GatePolicy],
    overrides: Mapping[str, ActiveOverride],
    now_ms: int,
) -> list[GateOutcome]:
    verdicts = {name: _verdict(post, name) for name in policies}
    return list(outcomes_of(policies, verdicts, overrides, post.arrived_ms, now_ms))


def _verdict(post: PostSnapshot, name: str) -> GateVerdict:
    signal = post.signal(name)
    if signal is None or signal.post_offset != post.post_offset:
        return GateVerdict.missing(name)
    return GateVerdict.of(name, signal.value, signal.model, signal.version)


def _version(post: PostSnapshot, name: str) -> str:
    signal = post.signal(name)
    if signal is None:
        return ""
    return f"rule:{signal.version}" if signal.model == RULE_MODEL else signal.version


def _gate_terms(
    post: PostSnapshot,
    policies: Mapping[str, GatePolicy],
    outcomes: Iterable[GateOutcome],
    reasons: Mapping[str, str],
) -> Iterator[GateTerm]:
    star_demotion: ActiveOverride | None = None
    for outcome in outcomes:
        name = outcome.gate
        if outcome.is_star_demotion:
            star_demotion = outcome.override
        text = _reason(post, policies[name], outcome)
        if name in reasons and outcome.override is None:
            text += f" ({reasons[name]})"
        signal, version = post.signal(name), _version(post, name)
        value = None if signal is None else signal.value
        yield GateTerm(name, DECISIONS[outcome.code], value, version, outcome.factor, text)
    if star_demotion is not None:
        text = f"{_override_text(star_demotion)}; the smallest factor, once"
        yield GateTerm("*", "demote", None, "", smallest_factor(policies), text)


def _reason(post: PostSnapshot, gate: GatePolicy, outcome: GateOutcome) -> str:
    if outcome.override is not None:
        return _override_text(outcome.override)
    if not gate.required:
        return "in shadow, not followed" if gate.enabled else "off"
    signal = post.signal(outcome.gate)
    if signal is None or signal.post_offset != post.post_offset:
        other = "" if signal is None else f", only version {signal.post_offset}"
        missing = f"{outcome.gate} has not judged version {post.post_offset}{other}"
        return missing + _grace_text(gate)
    if signal.value is None:
        return f"{outcome.gate} failed: {signal.error}" + _grace_text(gate)
    return _value_text(outcome, signal, signal.value, gate)


def _value_text(outcome: GateOutcome, signal: StoredSignal, value: float, gate: GatePolicy) -> str:
    text = f"{outcome.gate} {value:.6g}"
    if signal.model == RULE_MODEL:
        text += f" by the rule `{signal.version}`"
    if outcome.reached is not None:
        return f"{text} ≥ {outcome.reached:g}"
    lowest = next((t for t in (gate.demote_at, gate.hide_at) if t is not None), None)
    return text if lowest is None else f"{text} < {lowest:g}"


def _grace_text(gate: GatePolicy) -> str:
    closed = gate.on_failure == "closed"
    return "" if closed else f" (shown without it after {gate.grace_s:g} s)"


def _override_text(active: ActiveOverride) -> str:
    override = active.override
    reason = f" ({override.reason})" if override.reason else ""
    return f"the override of {override.by} says {override.verdict}{reason}"


def _in_words(decision: Decision, gates: Iterable[GateTerm], absent: str) -> str:
    reasons = [gate.text for gate in gates if gate.outcome == decision.name]
    because = " because " + "; ".join(dict.fromkeys(reasons))
    if decision.name in ("hide", "hold"):
        return ("hidden" if decision.name == "hide" else "held") + because
    shown = "shown" if decision.name == "show" else "demoted" + because
    return f"{shown}, but not in this feed: {absent}" if absent else shown
