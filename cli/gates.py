"""`feedmill gates preview`: what other thresholds would do, before they are set."""

from __future__ import annotations

from collections.abc import Sequence

import click

from feedmill.cli.changed_settings import SettingWords, changed_settings
from feedmill.cli.duration import Duration
from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, print_json, print_table
from feedmill.cli.read_posts import read_for_command, timeout_option
from feedmill.events.errors import UsageError
from feedmill.operations.preview.gate_preview import Gates, SourcedView, SourceRow, compare_gates
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.config_log import fold_log

_MOST_SOURCES = 20
_HOUR_MS = 3_600_000


@click.group()
def gates() -> None:
    """Look at what gates would do to recent posts."""


@gates.command("preview")
@click.argument("value", nargs=-1, required=True)
@click.option("--feed", default="", metavar="FEED", help="As if set under gates/FEED.  [gates]")
@click.option(
    "--since", "since_ms", type=Duration(), default=_HOUR_MS, help="The posts of so long.  [1h]"
)
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="N",
    help="So many ids of each source and change.",
)
@timeout_option
@json_option
@with_environment
def preview_command(
    environment: Environment,
    value: tuple[str, ...],
    feed: str,
    since_ms: int,
    examples: int,
    patience_ms: int,
    as_json: bool,
) -> None:
    """Show what a change of gates would hide, demote and let through, per source; change nothing.

    VALUE is what `feedmill config set gates` takes: `spam.hide_at=0.8 nsfw.demote_at=null`, or
    JSON.  It decides recent posts by the signals that were recorded of them; what moderators
    decided stays. A source is a community, a language, an author or a linked domain.
    """
    before, after = _policies(environment, value, feed)
    warn_of_gates(feed, after)
    view = SourcedView(environment.signals)
    read_for_command(environment, view, patience_ms / 1000, since_ms=now_ms() - since_ms)
    rows = compare_gates(view, before, after, now_ms(), examples)
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    if not rows[0].posts:
        raise UsageError("no posts in this time; give a longer --since")
    shown = [rows[0], *(row for row in rows[1:] if row.changed)]
    columns = ("source", "posts>", "hidden>", "demoted>", "held>", "shown>", "for example")
    print_table(columns, [_as_texts(row) for row in shown[: 1 + _MOST_SOURCES]])
    if len(shown) > 1 + _MOST_SOURCES:
        click.echo(f"and {len(shown) - 1 - _MOST_SOURCES} more sources: --json lists them")


def warn_of_gates(feed: str, gates: Gates) -> None:
    """Print on stderr what of the gates of a feed, "" for the general ones, is hardly meant."""
    for name, policy in gates.items():
        if warning := policy.warning():
            of_feed = f" of {feed}" if feed else ""
            click.echo(f"warning: {name}{of_feed}: {warning}", err=True)


def _policies(environment: Environment, value: Sequence[str], feed: str) -> tuple[Gates, Gates]:
    """Return the policies in force, and those with the change."""
    log = fold_log(read_all(environment, "config"), environment.signals)
    change = SettingWords(f"gates/{feed}" if feed else "gates", tuple(value))
    changed = changed_settings(log, [change])
    return log.settings.gates_of(feed), changed.gates_of(feed)


def _as_texts(row: SourceRow) -> tuple[str, ...]:
    """Return a row of the table: counts as they are, and an arrow where they change."""
    counts = [
        _change(row.before[decision], row.after[decision])
        for decision in ("hide", "demote", "hold", "show")
    ]
    examples = "; ".join(f"{change}: {', '.join(ids)}" for change, ids in row.examples.items())
    return (row.source, f"{row.posts:,}", *counts, examples)


def _change(before: int, after: int) -> str:
    return f"{before:,}" if before == after else f"{before:,} → {after:,}"
