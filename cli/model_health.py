"""`feedmill models health`: which version of each model runs where, and which models drift."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

import click
import msgspec

from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, print_json, print_table
from feedmill.events.errors import FeedmillError
from feedmill.events.instance import Instance, ModelDrift
from feedmill.operations.releases import RunningRow, running_rows
from feedmill.operations.status.installation import Installation
from feedmill.operations.status.workers import taking_back
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import open_topic, read_all
from feedmill.streams.releases.loading import MODELS
from feedmill.streams.releases.release_log import (
    TOPIC,
    ReleaseFold,
)
from feedmill.streams.settings.clock import now_ms
from feedmill.streams.settings.instances import RECENT_MS, read_recent_instances

_COLUMNS = ("model", "instance", "version", "state", "reason")
_OF_DRIFT = ("model", "version", "quantity", "state", "values>", "index>", "shift>", "reason")


@click.command("health")
@json_option
@with_environment
def health(environment: Environment, as_json: bool) -> None:
    """Show which version each running instance has, what it refused, and which models drift.

    Fails if an instance has another version than the one released, refused the last release of a
    model or a list, or waits for the store, or if `feedmill models watch` has an alarm on.
    """
    records = list(read_all(environment, TOPIC))
    history = ReleaseFold.of(MODELS, records)
    with closing(Installation(environment, os.environ, now_ms)) as inst:
        at_ms = inst.running.now_ms
    # Those whose answers commands wait for, whether others replaced them or not.
    with open_topic(environment, "instances") as reader:
        instances = sorted(read_recent_instances(reader, at_ms).items())
    running = [one for _, one in instances]
    found = [row for name, one in instances for row in running_rows(history, name, one)]
    found += [row for name, one in instances for row in _lists_not_in_force(history, name, one)]
    rows = [row._asdict() for row in found]
    drift = [one for instance in running for one in instance.drift]
    if as_json:
        print_json(rows + [msgspec.to_builtins(one) for one in drift])
    else:
        _print(rows, drift)
    wrong = [row for row in rows if row["state"] in ("other version", "refused", "waiting")]
    if wrong:
        names = ", ".join(f"{row['model']} on {row['instance']}" for row in wrong)
        raise FeedmillError(f"not at the released version: {names}{_way_back(wrong)}")
    drifting = [f"{one.quantity} of {one.model}" for one in drift if one.state == "drift"]
    if drifting:
        raise FeedmillError(f"drift: {', '.join(drifting)}; look at recent posts, or retrain")


def _way_back(wrong: Sequence[Mapping[str, str]]) -> str:
    """Say how refused releases are taken back: they run once a worker that starts can load them."""
    refused = sorted({row["model"] for row in wrong if row["state"] == "refused"})
    if not refused:
        return ""
    commands = ", ".join(f"`feedmill {taking_back(name)}`" for name in refused)
    return (
        "; what is refused stays on `models`, and a worker that starts later runs it if it can by"
        f" then: {commands} takes it back"
    )


def _print(rows: Sequence[Mapping[str, str]], drift: Sequence[ModelDrift]) -> None:
    if rows:
        print_table(_COLUMNS, [tuple(row[name] for name in _COLUMNS) for row in rows])
    else:
        click.echo(f"no instance has reported in the last {RECENT_MS / 1000:.0f} s")
    if drift:
        click.echo()
        cells = [
            (
                *(one.model, one.version, one.quantity, one.state, f"{one.values:,}"),
                *("" if one.index is None else f"{one.index:.2f}", f"{one.shift:+.3f}", one.reason),
            )
            for one in drift
        ]
        print_table(_OF_DRIFT, cells)


def _lists_not_in_force(
    history: ReleaseFold, name: str, instance: Instance
) -> Iterator[RunningRow]:
    """Yield a row for each list whose last record an instance refused, or cannot read now."""
    found = ("refused", instance.refused_releases), ("waiting", instance.waiting_releases)
    states = {one.offset: (state, one.reason) for state, ones in found for one in ones}
    for key, last in sorted(history.last_lists().items()):
        if key.filter in instance.models and last.offset in states:
            version = "" if last.release is None else last.release.version
            yield RunningRow(str(key), name, version, *states[last.offset])
