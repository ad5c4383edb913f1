"""`feedmill explain <post_id>`: why a post stands where it stands, or is hidden or held."""

from __future__ import annotations

import math
import time

import click

from feedmill.cli.options import arm_option, with_environment
from feedmill.cli.output import on_one_line, print_json, print_table, time_text
from feedmill.cli.post_record import feed_spec, post_record, signal_reasons
from feedmill.cli.unknown_post import why_unknown
from feedmill.events.errors import UsageError
from feedmill.events.feeds import pattern_of
from feedmill.rankers.score import LEAST_SUM
from feedmill.streams.environment import Environment
from feedmill.streams.redis.explanation import Explanation, FeedEntry, why_absent
from feedmill.streams.redis.explanation import explain as explain_post
from feedmill.streams.redis.reader import FeedReader, open_feed_reader
from feedmill.streams.settings.clock import now_ms

WHOLE = 10_000  # the largest feed a setting allows
READINGS = 5


class UnknownPost(Exception):
    """Redis knows no such post."""


@click.command("explain")
@click.argument("post_id")
@click.option("--feed", default="global", show_default=True, help="by whose weights and gates")
@arm_option
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@with_environment
def explain(environment: Environment, post_id: str, feed: str, arm: str, as_json: bool) -> None:
    """Show what each signal gives to a post's score, or why it is not shown."""
    shown = open_feed_reader(environment.redis, environment.redis_prefix)
    arm = shown.arm_named(feed, arm) if arm else ""
    try:
        explanation = read_explanation(environment, shown, post_id, feed, arm)
    except UnknownPost:
        reason = why_unknown(environment, post_id)
        raise UsageError(f"Redis knows no post `{post_id}`: {reason}") from None
    record = post_record(environment, explanation.post)
    text = None if record is None else record.text
    if as_json:
        print_json({**explanation.as_dict(), "text": text})
    else:
        _print(explanation, text)


def read_explanation(
    environment: Environment, shown: FeedReader, post_id: str, feed_name: str, arm: str = ""
) -> Explanation:
    """Take a post and a feed from Redis and explain the one by the other.

    The two are written one after the other, so what does not agree is read again.  What Redis does
    not hold, why a gate decided or a feed does not take the post, is asked of Kafka.

    Raises
    ------
    UsageError
        Redis knows no such feed, or no such arm of it any more.
    UnknownPost
        Redis knows no such post.
    """
    explanation = _read_once(environment, shown, post_id, feed_name, arm)
    for _ in range(READINGS - 1):
        if explanation.agrees is not False:
            break
        time.sleep(0.1)
        explanation = _read_once(environment, shown, post_id, feed_name, arm)
    return explanation


def _read_once(
    environment: Environment, shown: FeedReader, post_id: str, feed_name: str, arm: str
) -> Explanation:
    feed = shown.feed(feed_name, WHOLE, arm)
    if feed is None:
        raise UsageError(no_feed_text(feed_name, shown.similar(feed_name)))
    post = shown.post(post_id)
    if not post.known:
        raise UnknownPost(post_id)
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


def no_feed_text(feed_name: str, similar: str) -> str:
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


def _print(explanation: Explanation, text: str | None) -> None:
    post, feed = explanation.post, explanation.feed
    place = f", at rank {explanation.rank} of {len(feed.ranking)}" if explanation.rank else ""
    click.echo(f"{post.post_id} in {feed.name}: {explanation.verdict}{place}")
    decided = f", decided by {explanation.decision.decided_by}" * bool(
        explanation.decision.decided_by
    )
    click.echo(
        f"author {post.author_id}, created {time_text(post.created_ms)}, "
        f"version {post.post_offset}: {explanation.decision.name}{decided}"
    )
    click.echo(f"text: {on_one_line(text, 1000)}" if text is not None else "text: not on Kafka now")
    click.echo()
    print_table(
        ("gate", "value>", "outcome", "factor>", "why", "model version"),
        [
            (g.name, _number(g.value), g.outcome, f"{g.factor:g}", g.text, g.version)
            for g in explanation.gates
        ],
    )
    click.echo()
    print_table(("score", "", "value>", "  weight>", "  scale>", ">"), _sum_rows(explanation))
    click.echo()
    click.echo(_comparison(explanation))


def _sum_rows(explanation: Explanation) -> list[tuple[str, ...]]:
    """The rows of the sum: contributions, their sum, and the terms of the score."""
    rows: list[tuple[str, ...]] = [
        (
            one.name,
            one.version,
            _number(one.value),
            f"x {one.weight:g}",
            f"x {one.scale:g}",
            f"{one.contribution:.12g}",
        )
        for one in explanation.objectives
        if one.weight or one.value is not None
    ]
    logarithm = math.log2(max(explanation.total, LEAST_SUM))
    rows.append(("sum", "", "", "", "", f"{explanation.total:.12g}"))
    rows.append(("log2 of the sum", "", "", "", "", f"{logarithm:.12f}"))
    factor = _signed(math.log2(explanation.factor))
    rows.append((f"log2 of the factors, {explanation.factor:g}", "", "", "", "", factor))
    rows += [
        (
            f"cost of {one.name}",
            one.version,
            _number(one.value),
            f"x {one.cost:g}",
            "",
            _signed(one.contribution),
        )
        for one in explanation.costs
    ]
    half_life = explanation.feed.weights.half_life_hours
    decay = "no decay" if half_life is None else f"half-life {half_life:g} h"
    rows.append((f"recency, {decay}", "", "", "", "", _signed(explanation.recency)))
    rows.append(("score", "", "", "", "", f"{explanation.score:.12f}"))
    return rows


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


def _signed(value: float) -> str:
    return f"{value:+.12f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.9g}"
