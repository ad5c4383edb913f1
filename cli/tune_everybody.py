"""`feedmill tune half|after`: what a change of weights gives everybody, by whole feeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import click

from feedmill.cli.change_options import ChangeOptions, with_setting_change
from feedmill.cli.experiment_file import EXPERIMENT_FILE, WrittenExperiment, read_experiment
from feedmill.cli.options import by_option
from feedmill.cli.output import json_option, print_json, time_text
from feedmill.cli.setting_change import read_settings_log, setting_record, write_settings
from feedmill.events.errors import UsageError
from feedmill.events.experiment import Arm
from feedmill.events.feeds import BUILT_IN_FEEDS
from feedmill.events.settings import Settings
from feedmill.events.weights import weights_decoder
from feedmill.experiments.dials import written
from feedmill.streams.redis.reader import open_feed_reader
from feedmill.streams.settings.config_log import ConfigLog
from feedmill.streams.settings.environment import Environment, read_environment

_NOTE = "tune half"
_HOUR_MS = 3_600_000
# With fewer feeds on a side nothing is said by feed.
_ENOUGH = 40


@click.command()
@click.argument("pattern")
@click.argument("experiment", type=EXPERIMENT_FILE)
@click.argument("arm")
@click.option("--undo", is_flag=True, help="Take the weights back from all that have them.")
@with_setting_change(by_option)
def half(
    environment: Environment,
    change: ChangeOptions,
    pattern: str,
    experiment: Path,
    arm: str,
    *,
    undo: bool,
) -> None:
    """Give the weights of ARM of EXPERIMENT to half of the feeds of PATTERN, drawn by hash.

    PATTERN is 'community:*' or 'lang:*'. All get their settings weights/<feed> at once, or none.
    `feedmill tune after` compares both halves two weeks later; --undo removes the settings.
    """
    if "*" not in pattern or pattern not in BUILT_IN_FEEDS:
        raise UsageError(f"Expected 'community:*' or 'lang:*', got {pattern!r}")
    file = read_experiment(experiment, environment.signals)
    wanted = _arm(file, experiment, arm)
    log = read_settings_log(environment)
    note = f"{_NOTE} {file.name}.{arm}"
    if undo:
        keys = [key for key, said in _noted(log, pattern) if said == note]
        if not keys:
            raise UsageError(f"no feed of {pattern} has weights by `{note}`; nothing was sent")
        records = [setting_record(log, key, None, change.by, f"{note} --undo") for key in keys]
        write_settings(environment, records, change)
        return
    feeds = _drawn(environment, log.settings, pattern, file)
    decoder, names = weights_decoder(environment.signals), environment.signals
    records = []
    for feed in feeds:
        weights = decoder.patched(log.settings.weights_of(feed), wanted.weights)
        value = written(weights, names)
        records.append(setting_record(log, f"weights/{feed}", value, change.by, note))
    write_settings(environment, records, change)
    change.tell(f"half of {pattern} has {arm}: {', '.join(feeds)}")


def _arm(file: WrittenExperiment, path: Path, name: str) -> Arm:
    arms = {arm.name: arm for arm in file.experiment.treatments}
    if name not in arms:
        raise UsageError(f"{path}: expected an arm ({', '.join(arms)}), got {name!r}")
    place = list(file.experiment.shares).index(name)
    for kind in ("gates", "weights"):
        if bool(getattr(arms[name], kind)) != (kind == "weights"):
            raise UsageError(
                f"{path}: Expected an arm of `weights` alone, got {name!r} - at"
                f" `$.arms[{place}].{kind}`; a gate is no dial"
            )
    return arms[name]


def _noted(log: ConfigLog, pattern: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of weights of these feeds, each with its note."""
    before = f"weights/{pattern.removesuffix('*')}"
    for key in sorted(log.settings.offsets):
        entry = log.current(key) if key.startswith(before) else None
        if entry is not None:
            yield key, entry.note or ""


def _drawn(
    environment: Environment, settings: Settings, pattern: str, file: WrittenExperiment
) -> list[str]:
    """Return half of the feeds of a pattern that exist, none of which has weights of its own."""
    reader = open_feed_reader(environment.redis, environment.redis_prefix)
    try:
        feeds = [one for one in reader.feeds() if one.startswith(pattern.removesuffix("*"))]
    finally:
        reader.client.close()
    own = [feed for feed in feeds if feed in settings.weights]
    if own:
        raise UsageError(
            f"Expected feeds with the same weights, got {len(own)} with weights of their own - at"
            f" `weights/{own[0]}`; `--undo` takes back those of an earlier half, and `feedmill"
            f" config set weights/{own[0]} null` any other"
        )
    if len(feeds) < 2:
        raise UsageError(f"Redis has {len(feeds)} feeds of {pattern}, which have no half")
    if len(feeds) < _ENOUGH:
        click.echo(
            f"warning: {len(feeds)} feeds are few: `tune after` compares by feed from {_ENOUGH} on",
            err=True,
        )
    salt = f"{file.experiment.salt}\0{file.name}\0"
    by_hash = sorted(feeds, key=lambda feed: sha256(f"{salt}{feed}".encode()).digest())
    return sorted(by_hash[: len(feeds) // 2])


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.argument("feed", nargs=-1, required=True)
@json_option
def after(*, folder: Path, feed: tuple[str, ...], as_json: bool) -> None:
    """Compare the take-rate of each FEED two weeks before and after its weights changed.

    DIR is the folder of an export. The two days after the change are left out. Where 20 feeds got
    the change by `tune half` and 20 did not, the comparison is by feed, with a randomisation test;
    else by day. 'community:*' stands for all such feeds of the export.
    """
    # They need the extra `experiments`.
    from feedmill.experiments.parts import open_export  # noqa: PLC0415 - see above
    from feedmill.experiments.tune_after import after_change, daily, feeds_of  # noqa: PLC0415
    from feedmill.operations.experiment_record import ExportedSettings  # noqa: PLC0415

    export = open_export(folder)
    with export.locked():
        log = ExportedSettings(export, read_environment().signals).config
        feeds = [
            name
            for one in feed
            for name in (feeds_of(export, one[:-1]) if one.endswith("*") else [one])
        ]
        changed, at_ms = _changed(log, feeds)
        found = after_change(daily(export, feeds, at_ms), changed)
    keys = [f"weights/{one}" for one in changed]
    notes = {key: entry.note or "" for key in keys if (entry := log.current(key)) is not None}
    is_drawn = bool(notes) and all(note.startswith(_NOTE) for note in notes.values())
    if as_json:
        print_json({**vars(found), "at_ms": at_ms, "changed": changed, "drawn": is_drawn})
        return
    size = f"{found.change:+.1%} ({found.lower:+.1%} to {found.upper:+.1%})"
    click.echo(
        f"take_rate {size} since {time_text(at_ms)}, in {len(changed)} of {len(feeds)} feeds"
    )
    if found.p is not None and is_drawn:
        click.echo(f"by feed: so much or more by chance in {found.p:.1%} of draws")
    else:
        how = "feed" if found.p is not None else "day"
        click.echo(f"by {how}: nothing was randomised, so whatever else changed then is in it")
    click.echo("\nthis takes it back:")
    if is_drawn:
        name, _, arm = next(iter(notes.values())).removeprefix(f"{_NOTE} ").rpartition(".")
        kind = changed[0].partition(":")[0]
        click.echo(f"  feedmill tune half '{kind}:*' {name}.json {arm} --undo")
    else:
        for key in notes or ("weights",):
            click.echo(f"  feedmill config rollback {key}")


def _changed(log: ConfigLog, feeds: Sequence[str]) -> tuple[list[str], int]:
    """Return the feeds whose weights changed last, and when."""
    changes, settings = list[tuple[int, str]](), Settings(log.settings.names)
    for entry in log.entries:
        if entry.applied:
            then = settings.fold(entry.key.encode(), entry.record, entry.offset)
            changes += [
                (entry.at_ms, feed)
                for feed in feeds
                if settings.weights_of(feed) != then.weights_of(feed)
            ]
            settings = then
    if not changes:
        raise UsageError(
            f"no record of the export changes the weights of {', '.join(feeds[:5])}; give feeds"
            " that were changed, or an export that was made since"
        )
    at_ms = max(changes)[0]
    near = [feed for changed_ms, feed in changes if changed_ms > at_ms - _HOUR_MS]
    again = [
        (changed_ms, feed)
        for changed_ms, feed in changes
        if at_ms - 14 * 24 * _HOUR_MS < changed_ms <= at_ms - _HOUR_MS
    ]
    if again:
        raise UsageError(
            f"Expected one change in four weeks, got another of `{again[0][1]}` at"
            f" {time_text(again[0][0])} - at `weights`; compare feeds that changed once, or later"
        )
    return list(dict.fromkeys(near)), at_ms
