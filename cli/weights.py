"""`feedmill weights preview|suggest`: what other weights and scales would do to a feed."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import click

from feedmill.cli.changed_settings import SettingWords, changed_settings, words_by_setting
from feedmill.cli.gates import warn_of_gates
from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, print_json
from feedmill.cli.preview_table import print_preview, print_suggestion, print_summary
from feedmill.cli.read_posts import read_for_command, timeout_option
from feedmill.events.errors import UsageError
from feedmill.events.feeds import pattern_of
from feedmill.events.settings import Settings
from feedmill.operations.preview.feed_preview import preview_feed
from feedmill.operations.preview.scale_suggestion import suggest_scales
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.config_log import fold_log
from feedmill.streams.settings.environment import Environment

# Of which the effect of a suggestion is shown.
_TOP = 20


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
    check_feed(log.settings, feed)
    warn_of_gates(feed, then.gates_of(feed))
    view = PostView(environment.signals)
    read_for_command(environment, view, patience_ms / 1000)
    _warn_of_unwritten(view, then.weights_of(feed).signals)
    preview = preview_feed(view, feed, log.settings, then, now_ms(), top)
    if as_json:
        print_json(preview.as_dict())
        return
    if not preview.ranked:
        raise UsageError(_empty_text(feed))
    print_preview(preview, changes)


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
            click.echo(
                f"warning: no post has a value of `{name}`, so it counts as 0 here; it may be"
                " written only once a setting weighs it",
                err=True,
            )


def _empty_text(feed: str) -> str:
    if pattern_of(feed) is None:
        return (
            f"no post is in `{feed}`, now or then; `feedmill config get feeds/{feed}` has its match"
        )
    return f"no post is in `{feed}`, now or then; check the name, which no post may have"


@weights.command("suggest")
@click.argument("feed", required=False)
@timeout_option
@json_option
@with_environment
def suggest_command(
    environment: Environment, feed: str | None, patience_ms: int, as_json: bool
) -> None:
    """Find scales at which the objectives of a feed count alike; change nothing.

    FEED is `global` unless given. Of pairs of posts of one community that two objectives order
    apart, at equal weights each is to win half, and a quarter at least, among posts with
    engagements and among those without. It reads what `feedmill weights preview` reads.
    """
    log = fold_log(read_all(environment, "config"), environment.signals)
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
    if as_json:
        scales = [one.as_dict() for one in suggestion.scales]
        sides = {"now": preview.now.as_dict(), "then": preview.then.as_dict()}
        print_json({**suggestion._asdict(), "scales": scales, **sides, "command": change.command})
        return
    print_suggestion(suggestion)
    click.echo()
    print_summary(preview)
    click.echo(f"\nnothing was changed; this sets it:\n  {change.command}")
