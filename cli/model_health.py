"""`feedmill models health`: which version of each model runs where, and which models drift."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec

from feedmill.cli.models.releases import canary_rows
from feedmill.cli.models.versions import sha256_in_force
from feedmill.cli.options import with_environment
from feedmill.cli.output import json_option, print_json, print_table
from feedmill.events.errors import FeedmillError
from feedmill.events.instance import Instance, ModelDrift
from feedmill.events.release import SHADOW
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import open_topic, read_all, send
from feedmill.streams.releases.loading import MODELS
from feedmill.streams.releases.release_log import (
    TOPIC,
    ListHistory,
    ReleaseHistory,
)
from feedmill.streams.settings.instances import RECENT_MS, read_recent_instances

# Its record has no value, so nobody takes it for an instance; the broker stamps it.
_CLOCK_KEY = b"clock/health"


@click.command("health")
@json_option
@with_environment
def health(environment: Environment, as_json: bool) -> None:
    """Show which version each running instance has, what it refused, and which models drift.

    Fails if an instance has another version than the one released, refused the last release of a
    model or a list, or waits for the store, or if `feedmill models watch` has an alarm on.
    """
    records = list(read_all(environment, TOPIC))
    history, lists = ReleaseHistory(MODELS, records), ListHistory(records)
    instances = sorted(_running_instances(environment).items())
    rows = [row for name, one in instances for row in _health(history, name, one)]
    rows += [row for name, one in instances for row in _lists_not_in_force(lists, name, one)]
    drift = [one for _, instance in instances for one in instance.drift]
    if as_json:
        print_json(rows + [_drift_row(one) for one in drift])
    elif not rows:
        click.echo(f"no instance has reported in the last {RECENT_MS / 1000:.0f} s")
    else:
        columns = ("model", "instance", "version", "state", "reason")
        print_table(columns, [tuple(row[name] for name in columns) for row in rows])
    if drift and not as_json:
        click.echo()
        _print_drift(drift)
    wrong = [row for row in rows if row["state"] in ("other version", "refused", "waiting")]
    if wrong:
        names = ", ".join(f"{row['model']} on {row['instance']}" for row in wrong)
        raise FeedmillError(f"not at the released version: {names}{_way_back(wrong)}")
    drifting = [f"{one.quantity} of {one.model}" for one in drift if one.state == "drift"]
    if drifting:
        raise FeedmillError(f"drift: {', '.join(drifting)}; look at recent posts, or retrain")


def _way_back(wrong: Sequence[Mapping[str, str]]) -> str:
    """Say how refused releases are taken back: they run once a worker that starts can load them."""
    commands = []
    for name in sorted({row["model"] for row in wrong if row["state"] == "refused"}):
        kind, _, key = name.partition("/")
        command = f"lists rollback {key.replace('/', ' ')}" if key else f"models rollback {kind}"
        commands.append(f"`feedmill {command}`")
    if not commands:
        return ""
    return (
        "; what is refused stays on `models`, and a worker that starts later runs it if it can by"
        f" then: {', '.join(commands)} takes it back"
    )


def _drift_row(one: ModelDrift) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(one)
    return row


def _print_drift(drift: Sequence[ModelDrift]) -> None:
    columns = ("model", "version", "quantity", "state", "values>", "index>", "shift>", "reason")
    rows = []
    for one in drift:
        index = "" if one.index is None else f"{one.index:.2f}"
        numbers = (f"{one.values:,}", index, f"{one.shift:+.3f}")
        rows.append((one.model, one.version, one.quantity, one.state, *numbers, one.reason))
    print_table(columns, rows)


def _running_instances(environment: Environment) -> dict[str, Instance]:
    """Read who runs by the broker's time: the clock of this host may be off."""
    with open_topic(environment, "instances") as reader:
        at_ms = send(environment, "instances", _CLOCK_KEY, None).at_ms
        return read_recent_instances(reader, at_ms)


def _health(history: ReleaseHistory, name: str, instance: Instance) -> Iterator[dict[str, str]]:
    for model, version in instance.models.items():
        if model not in MODELS:
            continue
        entries = history.entries(model)
        last, release = (entries[-1].offset if entries else -1), history.current(model)
        reasons = {one.offset: one.reason for one in instance.refused_releases}
        state = "shipped" if release is None else "released"
        waiting = {one.offset: one.reason for one in instance.waiting_releases}
        if last in reasons:
            state = "refused"
        elif last in waiting:
            state = "waiting"
        elif instance.models_offset < last:
            state = "loading"
        elif sha256_in_force(history, model)[:12] != version:
            state = "other version"
        yield {
            "model": model,
            "instance": name,
            "version": version,
            "state": state,
            "reason": reasons.get(last, waiting.get(last, "")),
        }
        yield from canary_rows(model, name, instance, history.canaries.last(model))
        offset, challenger = history.challenger(model)
        if challenger is not None:
            reason = reasons.get(offset, "")
            state = "stopped" if reason else "loading"
            if not reason and instance.challengers.get(model) == challenger.version:
                state = "in shadow"
            # One that is stopped harms nobody, so `health` does not fail.
            yield {
                "model": SHADOW + model,
                "instance": name,
                "version": challenger.version,
                "state": state,
                "reason": reason,
            }


def _lists_not_in_force(
    lists: ListHistory, name: str, instance: Instance
) -> Iterator[dict[str, str]]:
    """Yield a row for each list whose last record an instance refused, or cannot read now."""
    found = ("refused", instance.refused_releases), ("waiting", instance.waiting_releases)
    states = {one.offset: (state, one.reason) for state, ones in found for one in ones}
    for key, last in sorted(lists.last().items()):
        if key.filter in instance.models and last.offset in states:
            state, reason = states[last.offset]
            yield {
                "model": str(key),
                "instance": name,
                "version": "" if last.release is None else last.release.version,
                "state": state,
                "reason": reason,
            }
