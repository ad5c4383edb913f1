"""`feedmill gates preview`: what other thresholds would do, before they are set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import click

from feedmill.cli import Duration, option
from feedmill.cli.awaited_change import warn_of_gates, words_checked
from feedmill.cli.options import asks_installation
from feedmill.cli.output import Answer, Columns, Table, table_of
from feedmill.cli.posts_on_kafka import read_for_command, timeout_option
from feedmill.events.errors import UsageError
from feedmill.operations.preview.gate_preview import SourcedView, SourceRow, compare_gates
from feedmill.operations.setting_changes import SettingWords, changed_settings, read_settings_log
from feedmill.rankers.combiner.gate_decisions import DecisionName
from feedmill.streams.environment import Environment
from feedmill.streams.settings.clock import now_ms

_MOST_SOURCES = 20
_HOUR_MS = 3_600_000


@click.group()
def gates() -> None:
    """Look at what gates would do to recent posts."""


@gates.command("preview")
@click.argument("value", nargs=-1, required=True)
@option("--feed FEED", "As if set under gates/FEED.  [gates]", default="")
@option("--since", "The posts of so long.  [1h]", Duration(), _HOUR_MS, name="since_ms")
@option("--examples N", "So many ids of each source and change.", click.IntRange(min=0), 3)
@timeout_option
@asks_installation
def preview_command(
    environment: Environment,
    value: tuple[str, ...],
    feed: str,
    since_ms: int,
    examples: int,
    patience_ms: int,
) -> Answer:
    """Show what a change of gates would hide, demote and let through, per source; change nothing.

    VALUE is what `feedmill config set gates` takes: `spam.hide_at=0.8 nsfw.demote_at=null`, or
    JSON.  It decides recent posts by the signals that were recorded of them; what moderators
    decided stays. A source is a community, a language, an author or a linked domain.
    """
    log = read_settings_log(environment)
    with words_checked():
        changed = changed_settings(log, [SettingWords(f"gates/{feed}" if feed else "gates", value)])
    before, after = log.settings.gates_of(feed), changed.gates_of(feed)
    warn_of_gates(feed, after)
    view = SourcedView(environment.signals)
    read_for_command(environment, view, patience_ms / 1000, since_ms=now_ms() - since_ms)
    rows = compare_gates(view, before, after, now_ms(), examples)
    return Answer(rows, _lines(rows))


def _lines(rows: Sequence[SourceRow]) -> Iterator[str | Table]:
    if not rows[0].posts:
        raise UsageError("no posts in this time; give a longer --since")
    shown = [rows[0], *(row for row in rows[1:] if row.changed)]
    yield table_of(shown[: 1 + _MOST_SOURCES], _COLUMNS)
    if len(shown) > 1 + _MOST_SOURCES:
        yield f"and {len(shown) - 1 - _MOST_SOURCES} more sources: --json lists them"


def _count(decision: DecisionName) -> Callable[[SourceRow], str]:
    """Return how many posts of a source have a decision, with an arrow where that changes."""

    def text(row: SourceRow) -> str:
        before, after = row.before[decision], row.after[decision]
        return f"{before:,}" if before == after else f"{before:,} → {after:,}"

    return text


_COLUMNS: Columns = {
    "source": "source",
    "posts>": "posts:,",
    "hidden>": _count("hide"),
    "demoted>": _count("demote"),
    "held>": _count("hold"),
    "shown>": _count("show"),
    "for example": lambda row: "; ".join(
        f"{change}: {', '.join(ids)}" for change, ids in row.examples.items()
    ),
}
