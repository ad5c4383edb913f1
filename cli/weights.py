"""`feedmill weights preview|suggest`: what other weights and scales would do to a feed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import click
import msgspec
import numpy as np

from feedmill.cli import COUNT, option
from feedmill.cli.awaited_change import warn_of_gates, words_checked
from feedmill.cli.feed import signal_columns
from feedmill.cli.options import asks_installation
from feedmill.cli.output import Answer, Columns, Table, number_text, short_json, table_of, warn
from feedmill.cli.posts_on_kafka import read_for_command, timeout_option
from feedmill.events.errors import UsageError
from feedmill.events.feeds import pattern_of
from feedmill.events.settings import Settings
from feedmill.events.weights import OBJECTIVE_ALIASES
from feedmill.operations.preview.feed_preview import FeedPreview, PreviewedPost, preview_feed
from feedmill.operations.preview.scale_suggestion import SuggestedScale, Suggestion, suggest_scales
from feedmill.operations.setting_changes import (
    SettingWords,
    changed_settings,
    read_settings_log,
    words_by_setting,
)
from feedmill.operations.times import age_text
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.environment import Environment
from feedmill.streams.settings.clock import now_ms

# Of which the effect of a suggestion is shown.
_TOP = 20


@click.group()
def weights() -> None:
    """Look at what other weights would do to a feed."""


@weights.command("preview")
@click.argument("feed")
@click.argument("change", nargs=-1, required=True)
@option("--top N", "Compare the best N posts, and show them.", COUNT, 20)
@timeout_option
@asks_installation
def preview_command(
    environment: Environment,
    feed: str,
    change: tuple[str, ...],
    top: int,
    patience_ms: int,
) -> Answer:
    """Show what a change of weights or gates would do to a feed now; change nothing.

    CHANGE is what `feedmill config set weights` and `config set gates` take: `alpha=0.2 beta=0.8`,
    `half_life_hours=6`, `max_per_author=1`, `spam.hide_at=0.8`, or JSON. It counts as if it were
    set for this feed alone, under `weights/FEED` and `gates/FEED`.

    All posts and signals are read from Kafka into this process, some 200 bytes a post, and the feed
    is ranked from all of them as the combiner ranks it.
    """
    log = read_settings_log(environment)
    changes = words_by_setting(change, feed, environment.signals.gates)
    with words_checked():
        then = changed_settings(log, changes)
    check_feed(log.settings, feed)
    warn_of_gates(feed, then.gates_of(feed))
    view = PostView(environment.signals)
    read_for_command(environment, view, patience_ms / 1000)
    _warn_of_unwritten(view, then.weights_of(feed).signals)
    preview = preview_feed(view, feed, log.settings, then, now_ms(), top)
    content = {
        "feed": feed,
        "at_ms": preview.at_ms,
        "top": top,
        "now": preview.now,
        "then": preview.then,
        "entering": [post.post_id for post in preview.entering],
        "leaving": [post.post_id for post in preview.leaving],
        "moving": len(preview.moving),
        "posts": preview.ranked,
    }
    return Answer(content, _preview_lines(preview, changes))


def check_feed(settings: Settings, feed: str) -> None:
    """Raise `UsageError` unless the settings know a feed."""
    if settings.feed_of(feed) is None:
        close = get_close_matches(feed, settings.named_feeds, 1)
        question = f"did you mean `{close[0]}`?" if close else "`feedmill config get` lists them;"
        raise UsageError(
            f"there is no feed `{feed}`: {question} expected global, a feed that is set under"
            " feeds/<name>, community:<name> or lang:<name>"
        )


def _warn_of_unwritten(view: PostView, names: Sequence[str]) -> None:
    """Print on stderr which signals count and are not there: a preview cannot know them."""
    for name in names:
        if name not in view.written and len(view.live_rows()):
            warn(
                f"warning: no post has a value of `{name}`, so it counts as 0 here; it may be"
                " written only once a setting weighs it"
            )


@weights.command("suggest")
@click.argument("feed", required=False)
@timeout_option
@asks_installation
def suggest_command(environment: Environment, feed: str | None, patience_ms: int) -> Answer:
    """Find scales at which the objectives of a feed count alike; change nothing.

    FEED is `global` unless given. Of pairs of posts of one community that two objectives order
    apart, at equal weights each is to win half, and a quarter at least, among posts with
    engagements and among those without. It reads what `feedmill weights preview` reads.
    """
    log = read_settings_log(environment)
    name = feed or "global"
    check_feed(log.settings, name)
    view = PostView(environment.signals)
    read_for_command(environment, view, patience_ms / 1000)
    at_ms = now_ms()
    suggestion = suggest_scales(view, log.settings, name, at_ms)
    is_own = feed is not None or name in log.settings.weights
    words = tuple(f"scale.{one.objective}={one.suggested:g}" for one in suggestion.scales)
    change = SettingWords(f"weights/{name}" if is_own else "weights", words)
    then = changed_settings(log, [change])
    preview = preview_feed(view, name, log.settings, then, at_ms, _TOP)
    content = {**suggestion._asdict(), "scales": [_scale_content(one) for one in suggestion.scales]}
    content |= {"now": preview.now, "then": preview.then, "command": change.command}
    end = f"\nnothing was changed; this sets it:\n  {change.command}"
    lines = (*suggestion_lines(suggestion), "", *_summary_lines(preview), end)
    return Answer(content, lines)


def _scale_content(scale: SuggestedScale) -> dict[str, Any]:
    return {
        "objective": scale.objective,
        "now": scale.now,
        "suggested": scale.suggested,
        "fair": scale.is_fair,
        "kinds": {
            kind: {
                "pairs": len(pairs.ratios),
                "wins_now": pairs.share(scale.now),
                "wins_then": pairs.share(scale.suggested),
                "interval_then": pairs.interval(scale.suggested),
                "fair_range": pairs.fair_range,
            }
            for kind, pairs in scale.kinds.items()
        },
    }


def _preview_lines(preview: FeedPreview, changes: Sequence[SettingWords]) -> Iterator[str | Table]:
    """Yield how a feed would change, and the commands that change it so."""
    feed, top = preview.feed, _compared(preview)
    if not preview.ranked:
        way_out = f"`feedmill config get feeds/{feed}` has its match"
        if pattern_of(feed) is not None:
            way_out = "check the name, which no post may have"
        raise UsageError(f"no post is in `{feed}`, now or then; {way_out}")
    yield from _summary_lines(preview)
    entering, leaving, moving = preview.entering, preview.leaving, preview.moving
    yield (
        f"\nposts: {len(entering):,} entering, {len(leaving):,} leaving, {len(moving):,} of the"
        f" others moving; the best {min(top, preview.then.posts)} then:"
    )
    yield table_of(preview.ranked[: min(preview.top, preview.then.posts)], _top_columns(preview))
    left = [post for post in leaving if post.rank_now is not None and post.rank_now <= top]
    if left:
        yield "\nleaving from the best of now:"
        yield table_of(left, _LEAVING_COLUMNS)
    yield "\nnothing was changed; this sets it for the feed:"
    yield from (f"  {change.command}" for change in changes)


_LEAVING_COLUMNS: Columns = {
    "rank now>": "rank_now",
    "post": "post_id",
    "author": "author_id",
    "decision then": "decision",
}


def _summary_lines(preview: FeedPreview) -> Iterator[str | Table]:
    """Yield which settings of a feed change, and what its top is worth now and then."""
    yield f"{preview.feed}, {_changes_text(preview)}"
    sides, top = (preview.now, preview.then), _compared(preview)
    rows = [
        ("posts", *(f"{side.posts:,}" for side in sides)),
        ("authors", *(f"{side.authors:,}" for side in sides)),
        (f"authors of the top {top}", *(str(side.top_authors) for side in sides)),
        (f"demoted in the top {top}", *(str(side.top_demoted) for side in sides)),
        (
            f"median age of the top {top}",
            *("-" if side.top_age_ms is None else age_text(side.top_age_ms) for side in sides),
        ),
    ]
    for name in _scored(preview):
        means = (number_text(side.top_means.get(name), 4) for side in sides)
        rows.append((f"mean {name} of the top {top}", *means))
    yield Table(("", "now>", "then>"), rows)


def suggestion_lines(suggestion: Suggestion) -> Iterator[str | Table]:
    """Yield what each objective wins now and at the suggested scales."""
    yield (
        f"{suggestion.feed}: {suggestion.posts:,} posts of {suggestion.communities:,} communities;"
        f" scales beside {suggestion.reference}, at equal weights:\n"
    )
    columns = ("posts", "pairs apart>", "wins now>", "then>", "95 %", "a quarter each")
    for one in suggestion.scales:
        yield f"{one.objective}: scale {one.now:g} → {one.suggested:g}"
        yield Table(columns, [_kind_row(one, kind) for kind in one.kinds])
        if not one.is_fair:
            fairest = [float(np.median(pairs.ratios)) for pairs in one.kinds.values()]
            yield (
                "no scale gives each a quarter of both kinds: the fairest of the one is"
                f" {max(fairest) / min(fairest):.1f} times that of the other"
            )


def _kind_row(one: SuggestedScale, kind: str) -> tuple[str, ...]:
    pairs = one.kinds[kind]
    (low, high), (least, most) = pairs.fair_range, pairs.interval(one.suggested)
    return (
        kind,
        f"{len(pairs.ratios):,}",
        f"{pairs.share(one.now):.0%}",
        f"{pairs.share(one.suggested):.0%}",
        f"{least:.0%} to {most:.0%}",
        f"scale {low:.3g} to {high:.3g}",
    )


def _compared(preview: FeedPreview) -> int:
    """How many posts the top has, now or then."""
    return min(preview.top, max(preview.now.posts, preview.then.posts))


def _changes_text(preview: FeedPreview) -> str:
    """The fields that change, by their paths: `beta 0.5 → 0.8`."""
    aliases = {objective: alias for alias, objective in OBJECTIVE_ALIASES.items()}
    changed = []
    for part in ("weights", "gates"):
        now, then = (
            dict(_flat(msgspec.to_builtins(getattr(side, part))))
            for side in (preview.now, preview.then)
        )
        for name in {**now, **then}:
            # A cost that is left out is 0.
            values = [short_json(side.get(name, 0)) for side in (now, then)]
            if values[0] != values[1]:
                changed.append(f"{aliases.get(name, name)} {' → '.join(values)}")
    return ", ".join(changed) or "no field changes"


def _flat(fields: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, object]]:
    """Each field by its path, as `config set` takes it."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield path + name, value


def _scored(preview: FeedPreview) -> list[str]:
    """The objectives and costs that count now or then, or of which the top has values."""
    sides = preview.now, preview.then
    return [
        name
        for name in {**preview.now.top_means, **preview.then.top_means}
        if any(
            side.top_means.get(name)
            or side.weights.get(name)
            or name in side.weights.get("costs", {})
            for side in sides
        )
    ]


def _top_columns(preview: FeedPreview) -> Columns:
    """Columns as `feedmill feed` has them, with the ranks gained."""
    return {
        "rank>": "rank",
        "": _gained,
        "score>": lambda post: f"{round(post.score or 0.0, 4) + 0.0:.4f}",
        "post": "post_id",
        "age>": lambda post: age_text(preview.at_ms - post.created_ms),
        "author": "author_id",
        "decision": "decision",
        **signal_columns(
            _scored(preview), [*preview.then.gates], lambda post, name: post.signals.get(name)
        ),
    }


def _gained(post: PreviewedPost) -> str:
    if post.gained is None:
        return "new"
    if not post.gained:
        return "·"
    return f"▲{post.gained}" if post.gained > 0 else f"▼{-post.gained}"
