"""`feedmill weights preview`: what other weights or gates would do to a feed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import click

from feedmill.cli.changed_settings import SettingWords, changed_settings, words_by_setting
from feedmill.cli.feed_table import age_text
from feedmill.cli.gates import warn_of_gates
from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, print_json, print_table, short_json
from feedmill.cli.read_posts import read_for_command, timeout_option
from feedmill.events.errors import UsageError
from feedmill.events.feeds import pattern_of
from feedmill.events.settings import Settings
from feedmill.events.weights import OBJECTIVE_ALIASES
from feedmill.operations.preview.feed_preview import (
    FeedPreview,
    FeedSide,
    PreviewedPost,
    preview_feed,
)
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.config_log import fold_log
from feedmill.streams.settings.environment import Environment


@click.group()
def weights() -> None:
    """Look at what other weights would do to a feed."""


@weights.command("preview")
@click.argument("feed")
@click.argument("change", nargs=-1, required=True)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Compare the best N posts, and show them.",
)
@timeout_option
@json_option
@with_environment
def preview_command(
    environment: Environment,
    feed: str,
    change: tuple[str, ...],
    top: int,
    patience_ms: int,
    as_json: bool,
) -> None:
    """Show what a change of weights or gates would do to a feed now; change nothing.

    CHANGE is what `feedmill config set weights` and `config set gates` take: `alpha=0.2 beta=0.8`,
    `half_life_hours=6`, `max_per_author=1`, `spam.hide_at=0.8`, or JSON. It counts as if it were
    set for this feed alone, under `weights/FEED` and `gates/FEED`.

    All posts and signals are read from Kafka into this process, some 200 bytes a post, and the feed
    is ranked from all of them as the combiner ranks it.
    """
    log = fold_log(read_all(environment, "config"), environment.signals)
    changes = words_by_setting(change, feed, environment.signals.gates)
    then = changed_settings(log, changes)
    _check_feed(log.settings, feed)
    warn_of_gates(feed, then.gates_of(feed))
    view = PostView(environment.signals)
    read_for_command(environment, view, patience_ms / 1000)
    preview = preview_feed(view, feed, log.settings, then, now_ms(), top)
    if as_json:
        print_json(preview.as_dict())
        return
    if not preview.ranked:
        raise UsageError(_empty_text(feed))
    _print(preview, changes)


def _check_feed(settings: Settings, feed: str) -> None:
    if settings.feed_of(feed) is None:
        close = get_close_matches(feed, settings.named_feeds, 1)
        question = f"did you mean `{close[0]}`?" if close else "`feedmill config get` lists them;"
        raise UsageError(
            f"there is no feed `{feed}`: {question} expected global, a feed that is set under"
            " feeds/<name>, community:<name> or lang:<name>"
        )


def _empty_text(feed: str) -> str:
    if pattern_of(feed) is None:
        return (
            f"no post is in `{feed}`, now or then; `feedmill config get feeds/{feed}` has its match"
        )
    return f"no post is in `{feed}`, now or then; check the name, which no post may have"


# --- what is printed --------------------------------------------------------------------------


def _print(preview: FeedPreview, changes: Sequence[SettingWords]) -> None:
    top = min(preview.top, max(preview.now.posts, preview.then.posts))
    shown = min(top, preview.then.posts)
    click.echo(f"{preview.feed}, {_changes_text(preview)}")
    print_table(("", "now>", "then>"), _summary(preview.now, preview.then, top))
    entering, leaving, moving = preview.entering, preview.leaving, preview.moving
    click.echo(
        f"\nposts: {len(entering):,} entering, {len(leaving):,} leaving, {len(moving):,} of the"
        f" others moving; the best {shown} then:"
    )
    print_table(*_top_table(preview))
    left = [post for post in leaving if post.rank_now is not None and post.rank_now <= top]
    if left:
        click.echo("\nleaving from the best of now:")
        columns = ("rank now>", "post", "author", "decision then")
        rows = [(str(p.rank_now), p.post_id, p.author_id, p.decision) for p in left]
        print_table(columns, rows)
    click.echo("\nnothing was changed; this sets it for the feed:")
    for change in changes:
        click.echo(f"  {change.command}")


def _changes_text(preview: FeedPreview) -> str:
    """The fields that change, by their paths: `beta 0.5 → 0.8`."""
    aliases = {objective: alias for alias, objective in OBJECTIVE_ALIASES.items()}
    changed = []
    for part in ("weights", "gates"):
        now = dict(_flat(preview.now.as_dict()[part]))
        changed += [
            f"{aliases.get(name, name)} {short_json(now.get(name))} → {short_json(value)}"
            for name, value in _flat(preview.then.as_dict()[part])
            if value != now.get(name)
        ]
    return ", ".join(changed) or "no field changes"


def _flat(fields: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, object]]:
    """Each field by its path, as `config set` takes it."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield path + name, value


def _summary(now: FeedSide, then: FeedSide, top: int) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("posts", f"{now.posts:,}", f"{then.posts:,}"),
        ("authors", f"{now.authors:,}", f"{then.authors:,}"),
        (f"authors of the top {top}", str(now.top_authors), str(then.top_authors)),
        (f"demoted in the top {top}", str(now.top_demoted), str(then.top_demoted)),
        (f"median age of the top {top}", *(_age(side) for side in (now, then))),
    ]
    for name in {**now.top_means, **then.top_means}:
        means = (side.top_means.get(name) for side in (now, then))
        rows.append(
            (f"mean {name} of the top {top}", *("-" if m is None else f"{m:.4f}" for m in means))
        )
    return rows


def _age(side: FeedSide) -> str:
    return "-" if side.top_age_ms is None else age_text(side.top_age_ms)


def _top_table(preview: FeedPreview) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows as `feedmill feed` has them, with the ranks gained."""
    objectives, gates = tuple(preview.then.weights.objectives), tuple(preview.then.gates)
    of_signals = (*(f"{name}>" for name in objectives), f"{'/'.join(gates)}>")
    columns = ("rank>", "", "score>", "post", "age>", "author", "decision", *of_signals)
    rows = [
        (
            str(post.rank),
            _gained(post),
            f"{round(post.score or 0.0, 4) + 0.0:.4f}",
            post.post_id,
            age_text(preview.at_ms - post.created_ms),
            post.author_id,
            post.decision,
            *(_number(post.signals[name], 4) for name in objectives),
            "/".join(_number(post.signals[name], 2) for name in gates),
        )
        for post in preview.ranked[: min(preview.top, preview.then.posts)]
    ]
    return columns, rows


def _gained(post: PreviewedPost) -> str:
    if post.gained is None:
        return "new"
    if not post.gained:
        return "·"
    return f"▲{post.gained}" if post.gained > 0 else f"▼{-post.gained}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
