"""`feedmill explain <post_id>`: why a post stands where it stands, or is hidden or held."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import click

from feedmill.cli import option
from feedmill.cli.options import arm_option, with_environment
from feedmill.cli.output import Answer, Columns, Table, answers_as, on_one_line, table_of
from feedmill.cli.posts_on_kafka import feed_spec, post_record, signal_reasons, why_unknown
from feedmill.events.errors import UsageError
from feedmill.events.feeds import pattern_of
from feedmill.operations.times import time_text
from feedmill.rankers.score import LEAST_SUM
from feedmill.streams.environment import Environment
from feedmill.streams.redis.explanation import Explanation, FeedEntry, why_absent
from feedmill.streams.redis.explanation import explain as explain_post
from feedmill.streams.redis.reader import FeedReader, open_feed_reader
from feedmill.streams.settings.clock import now_ms

WHOLE = 10_000  # the largest feed a setting allows
READINGS = 5


@click.command("explain")
@click.argument("post_id")
@option("--feed", "by whose weights and gates", default="global")
@arm_option
@answers_as("print JSON")
@with_environment
def explain(environment: Environment, post_id: str, feed: str, arm: str) -> Answer:
    """Show what each signal gives to a post's score, or why it is not shown."""
    shown = open_feed_reader(environment.redis, environment.redis_prefix)
    arm = shown.arm_named(feed, arm) if arm else ""
    explanation = _read_once(environment, shown, post_id, feed, arm)
    for _ in range(READINGS - 1):
        # Post and feed are written one after the other, so what does not agree is read again.
        if explanation.agrees is not False:
            break
        time.sleep(0.1)
        explanation = _read_once(environment, shown, post_id, feed, arm)
    record = post_record(environment, explanation.post)
    text = None if record is None else record.text
    return Answer({**explanation.as_dict(), "text": text}, _lines(explanation, text))


def _read_once(
    environment: Environment, shown: FeedReader, post_id: str, feed_name: str, arm: str
) -> Explanation:
    """Explain a post by a feed, both as Redis has them; Kafka says why a gate decided, and more."""
    feed = shown.feed(feed_name, WHOLE, arm)
    if feed is None:
        raise UsageError(_no_feed_text(feed_name, shown.similar(feed_name)))
    post = shown.post(post_id)
    if not post.known:
        reason = why_unknown(environment, post_id)
        raise UsageError(f"Redis knows no post `{post_id}`: {reason}")
    in_redis = dict(feed.ranking).get(post_id)
    at_ms = now_ms()
    first = explain_post(post, feed, in_redis, "", at_ms)
    reasons = signal_reasons(environment, post, _gates_that_decided(first))
    absent = ""
    if in_redis is None and first.decision.name in ("show", "demote"):
        absent = _absent(environment, shown, first, at_ms)
    return explain_post(post, feed, in_redis, absent, at_ms, reasons)


def _gates_that_decided(explanation: Explanation) -> list[str]:
    """The gates whose model, not a rule, hides or demotes the post."""
    return [
        gate.name
        for gate in explanation.gates
        if gate.outcome in ("hide", "demote")
        and gate.value is not None
        and not gate.version.startswith("rule:")
    ]


def _no_feed_text(feed_name: str, similar: str) -> str:
    """Why Redis has no feed of this name, as far as the name tells; `similar` is one it has."""
    question = (
        f"did you mean `{similar}`?"
        if similar
        else "check the name; does a combiner run, and match posts the feed?"
    )
    text, pattern = f"there is no feed `{feed_name}` in Redis; {question}", pattern_of(feed_name)
    if pattern is None:
        return text
    return (
        f"{text} It is made by the first post that is shown in it, unless `max_feeds` of"
        f" `feeds/{pattern}` feeds have more authors (`feedmill_feeds_waiting`)"
    )


def _absent(
    environment: Environment, shown: FeedReader, explanation: Explanation, at_ms: int
) -> str:
    feed, post = explanation.feed, explanation.post
    authors = shown.authors([member for member, _ in feed.ranking])
    spec, record = feed_spec(environment, feed.feed), post_record(environment, post)
    entry = None if spec is None or record is None else FeedEntry(spec, record)
    return why_absent(feed, post, explanation.score, authors, entry, at_ms)


_GATE_COLUMNS: Columns = {
    "gate": "name",
    "value>": "value:.9g",
    "outcome": "outcome",
    "factor>": "factor:g",
    "why": "text",
    "model version": "version",
}


def _lines(explanation: Explanation, text: str | None) -> Iterator[str | Table]:
    post, feed, decision = explanation.post, explanation.feed, explanation.decision
    place = f", at rank {explanation.rank} of {len(feed.ranking)}" if explanation.rank else ""
    yield f"{post.post_id} in {feed.name}: {explanation.verdict}{place}"
    decided = f", decided by {decision.decided_by}" if decision.decided_by else ""
    yield (
        f"author {post.author_id}, created {time_text(post.created_ms)}, "
        f"version {post.post_offset}: {decision.name}{decided}"
    )
    yield f"text: {on_one_line(text, 1000)}\n" if text is not None else "text: not on Kafka now\n"
    yield table_of(explanation.gates, _GATE_COLUMNS)
    yield ""
    columns = ("score", "", "value>", "  weight>", "  scale>", ">")
    yield Table(columns, [*_sum_rows(explanation)])
    yield f"\n{_comparison(explanation)}"


def _sum_rows(explanation: Explanation) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the sum: contributions, their sum, and the terms of the score."""
    for one in explanation.objectives:
        if one.weight or one.value is not None:
            factors = f"x {one.weight:g}", f"x {one.scale:g}"
            shown = f"{one.contribution:.12g}"
            yield one.name, one.version, _number(one.value), *factors, shown
    logarithm = math.log2(max(explanation.total, LEAST_SUM))
    yield "sum", "", "", "", "", f"{explanation.total:.12g}"
    yield "log2 of the sum", "", "", "", "", f"{logarithm:.12f}"
    factor = f"{math.log2(explanation.factor):+.12f}"
    yield f"log2 of the factors, {explanation.factor:g}", "", "", "", "", factor
    for cost in explanation.costs:
        value, shown = _number(cost.value), f"{cost.contribution:+.12f}"
        yield f"cost of {cost.name}", cost.version, value, f"x {cost.cost:g}", "", shown
    half_life = explanation.feed.weights.half_life_hours
    decay = "no decay" if half_life is None else f"half-life {half_life:g} h"
    yield f"recency, {decay}", "", "", "", "", f"{explanation.recency:+.12f}"
    yield "score", "", "", "", "", f"{explanation.score:.12f}"


def _comparison(explanation: Explanation) -> str:
    feed = explanation.feed
    where = f"version {feed.version} of {feed.name}, config offset {feed.config_offset}"
    if explanation.in_redis is None:
        return f"not in {where}"
    place = "" if explanation.rank is None else f"rank {explanation.rank} in "
    if explanation.agrees:
        return f"{place}{where}; the score in Redis is equal within 1e-9"
    return (
        f"{place}{where}; the score in Redis is {explanation.in_redis:.12f}, which differs by "
        f"{explanation.in_redis - explanation.score:.3g}, also when read {READINGS} times"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.9g}"
