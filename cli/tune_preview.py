"""`feedmill tune preview`: what each dial does to the top of a feed, before any reader sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from feedmill.cli import FILE, option
from feedmill.cli.experiments.planning import baselines_by, size_options
from feedmill.cli.options import with_environment
from feedmill.cli.output import Answer, Table, answers
from feedmill.cli.posts_on_kafka import read_for_command, timeout_option
from feedmill.cli.weights import check_feed
from feedmill.events.errors import UsageError
from feedmill.events.experiment import decode_experiment
from feedmill.events.settings import Settings
from feedmill.experiments.dials import Dial, arms_of, dials_of
from feedmill.experiments.tune_effects import planned_users
from feedmill.experiments.tune_pictures import Point, Series, picture
from feedmill.operations.preview.dial_sweep import TOP, Side, SweptFeed, SweptSetting
from feedmill.operations.times import age_text
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.config_log import fold_log

# What an experiment may not worsen unless somebody changes the file.
_GUARDRAILS = {"reporters": 0.25}
_LEAST_USERS = 1_000


@click.command()
@click.argument("feed")
@click.argument("dial", nargs=-1)
@option("--out", "Write an experiment with arms to try.", FILE)
@option("--svg", "Write a picture of the overlaps.", FILE)
@size_options
@timeout_option
@answers
@with_environment
def preview(
    *,
    environment: Environment,
    feed: str,
    dial: tuple[str, ...],
    out: Path | None,
    svg: Path | None,
    patience_ms: int,
    **sizing: Any,
) -> Answer:
    """Show how far each DIAL moves the top twenty of FEED, without readers; change nothing.

    A dial is an objective (alpha and beta are one), half_life_hours or a cost (costs.report);
    without any, all of the feed. Each is set to a 64th to 64 times its value.

    --out writes an experiment with an arm on each side where half of the top twenty stays, of one
    dial also where three quarters stay; its size shows --effect in one look at a power of 80 %, by
    --before or --assume. A direction that leaves 90 % of the top is left out.
    """
    settings = fold_log(read_all(environment, "config"), environment.signals).settings
    check_feed(settings, feed)
    dials = dials_of(dial, settings.weights_of(feed), environment.signals, feed)
    view = PostView(environment.signals)
    read_for_command(environment, view, patience_ms / 1000)
    at_ms = now_ms()
    swept = SweptFeed(view, settings, feed, at_ms)
    if not len(swept.now):
        raise UsageError(f"no post is in `{feed}`; check the name, or wait for posts")
    found = swept.sweep(dials)
    sides, inert = swept.sides(dials, found)
    if svg is not None:
        svg.write_text(_picture(feed, dials, found), encoding="utf-8")
    value = _experiment(settings, feed, sides, sizing) if out is not None and sides else None
    if out is not None and value is not None:
        out.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    rows = [(one.dial.name, f"{one.value:.12g}", f"{one.overlap:.0%}") for one in sides]
    lines: list[str | Table] = [_table(found), "\narms to try:"]
    lines.append(Table(("dial", "value>", f"of the top {TOP} stay>"), rows))
    lines += [f"left out: {line}" for line in inert]
    failure = None
    if value is not None:
        lines.append(f"\n{out}: {value['planned_n']:,} users an arm; nothing was changed")
    elif out is not None:
        text = f"{out} was not written: no direction of a dial moves the top {TOP}"
        failure = UsageError(text)
    tops = {"settings": [one._asdict() for one in found], "left_out": inert}
    content = {"feed": feed, "at_ms": at_ms, "top": len(swept.now), **tops, "mix": value}
    return Answer(content, lines, failure)


def _experiment(
    settings: Settings, feed: str, sides: Sequence[Side], sizing: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the experiment of these arms, planned for one look."""
    value: dict[str, Any] = {
        "arms": arms_of([(side.dial.name, side.dial.patch(side.value)) for side in sides]),
        "feeds": [feed],
        "salt": f"tune-{settings.offset}",
        "planned_n": _LEAST_USERS,
        "primary": "take_rate",
        "guardrails": _GUARDRAILS,
    }
    experiment = decode_experiment(value, settings.names)
    sizes = {name: sizing[name] for name in ("effect", "list_noise")}
    before = baselines_by(experiment, before=sizing["before"], assume=sizing["assume"])
    users = planned_users(experiment, before, **sizes)
    value["planned_n"] = max(_LEAST_USERS, *users.values())
    decode_experiment(value, settings.names)
    return value


def _table(found: Sequence[SweptSetting]) -> Table:
    columns = ["dial", "value>", "times>", "overlap>", "age>", "authors>"]
    rows = [
        [
            one.dial if one.doublings else "now",
            f"{one.value:.12g}",
            f"{2.0**one.doublings:g}",
            f"{one.overlap:.0%}",
            age_text(one.age_ms or 0),
            str(one.authors),
            *(f"{mean:.4f}" for mean in one.means.values()),
        ]
        for one in found
    ]
    return Table([*columns, *(f"{name}>" for name in found[0].means)], rows)


def _picture(feed: str, dials: Sequence[Dial], found: Sequence[SweptSetting]) -> str:
    series = []
    for dial in dials:
        points = [Point(one.doublings, one.overlap) for one in found if one.dial == dial.name]
        series.append(Series(dial.name, sorted([*points, Point(0.0, 1.0)])))
    title = f"{feed}: which part of the top {TOP} stays, by doublings of the dial"
    return picture(title, series, "+.2g", ".0%")
