"""`feedmill rates learn`: how often readers react to a post before it has counts of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import click

from feedmill.cli import flag
from feedmill.cli.awaited_change import ChangeOptions, change_setting, with_setting_change
from feedmill.cli.options import by_option, note_option
from feedmill.cli.output import Answer, Columns, Table, print_answer, table_of, warn
from feedmill.cli.progress import long_work
from feedmill.events.errors import UsageError
from feedmill.operations.learned_rates import LEAST_REACTIONS, LearnedRate, learned_rates
from feedmill.operations.setting_changes import read_settings_log
from feedmill.streams.environment import Environment


@click.group()
def rates() -> None:
    """Learn how often readers reply, share, dwell, hide and report."""


@rates.command("learn")
@flag("--set", "Write the setting `rates`.", "is_set")
@with_setting_change(by_option, note_option)
def learn_command(environment: Environment, change: ChangeOptions, is_set: bool) -> None:
    """Fit base and strength of each kind of reaction to the counts of recent posts.

    The base is what a post without counts has as its value, the strength how many impressions the
    base is worth. They come from the topic `counters`, which has the posts of some nine days; a
    kind with fewer than 200 reactions keeps its rate. Without --set nothing is changed. Nothing is
    learned of clicks: `feedmill train engagement --from-topics` learns how often readers click.
    """
    log = read_settings_log(environment)
    now = log.settings.reaction_rates
    with long_work("reading", "nothing was changed") as work:
        learned, unreadable = learned_rates(environment, now, partial(work.tell, "counters"))
    if unreadable:
        warn(f"warning: {unreadable:,} records of `counters` are unreadable and were left out")
    fitted = {one.kind: one for one in learned if one.is_learned}
    value = dict(log.written_value("rates") or {})
    value |= {kind: {"base": of.base, "strength": of.strength} for kind, of in fitted.items()}
    if not (is_set and change.as_json):
        print_answer(Answer(learned, _lines(learned, is_set)), as_json=change.as_json)
    if is_set:
        if not fitted:
            raise UsageError(
                f"nothing was set: no kind has {LEAST_REACTIONS} reactions; wait for more"
                " engagements, or set the rates that you know by `feedmill config set rates`"
            )
        change_setting(environment, log, "rates", value, change)


def _lines(learned: Sequence[LearnedRate], is_set: bool) -> Iterator[str | Table]:
    yield table_of(learned, _COLUMNS)
    few = [one.kind for one in learned if not one.is_learned]
    if few:
        yield f"{', '.join(few)}: fewer than {LEAST_REACTIONS} reactions, the rates in force stay"
    yield f"nothing was learned of clicks: {_CLICKS}"
    if not is_set and len(few) < len(learned):
        yield "nothing was changed; this sets what was learned:\n  feedmill rates learn --set"


_CLICKS = "`feedmill train engagement --from-topics` learns how often readers click"
_COLUMNS: Columns = {
    "kind": "kind",
    "posts>": lambda one: f"{one.posts:,}",
    "impressions>": lambda one: f"{one.impressions:,.0f}",
    "reactions>": lambda one: f"{one.reactions:,.0f}",
    "base>": lambda one: f"{one.base:.4g}",
    "strength>": lambda one: f"{one.strength:,.3g}",
    "": lambda one: "learned" if one.is_learned else "as before",
}
