"""`feedmill tune half|after`: what a change of weights gives everybody, by whole feeds.

Modules that need the extra `experiments` are imported by the command that uses them.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import click

from feedmill.cli import FILE, FOLDER, flag
from feedmill.cli.awaited_change import ChangeOptions, with_setting_change, write_settings
from feedmill.cli.experiments.planning import WrittenExperiment, read_experiment
from feedmill.cli.options import by_option
from feedmill.cli.output import Answer, answers
from feedmill.events.errors import UsageError
from feedmill.events.experiment import Arm
from feedmill.events.feeds import BUILT_IN_FEEDS, pattern_of
from feedmill.events.settings import Settings
from feedmill.events.weights import weights_decoder
from feedmill.experiments.dials import written
from feedmill.operations.experiments.runs import steps_of
from feedmill.operations.setting_changes import read_settings_log
from feedmill.operations.times import time_text
from feedmill.streams.environment import Environment, read_environment
from feedmill.streams.redis.reader import open_feed_reader
from feedmill.streams.settings.config_log import ConfigLog

_NOTE = "tune half"
_HOUR_MS = 3_600_000


@click.command()
@click.argument("pattern")
@click.argument("experiment", type=FILE)
@click.argument("arm")
@flag("--undo", "Take the weights back from all that have them.")
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
        before = f"weights/{pattern[:-1]}"
        keys = [key for key in sorted(log.settings.offsets) if key.startswith(before)]
        keys = [key for key in keys if _note_of(log, key) == note]
        if not keys:
            raise UsageError(f"no feed of {pattern} has weights by `{note}`; nothing was sent")
        undone = replace(change, note=f"{note} --undo")
        write_settings(environment, [undone.setting(log, key, None) for key in keys], undone)
        return
    feeds = _drawn(environment, log.settings, pattern, file)
    drawn = replace(change, note=note)
    records, decoder = [], weights_decoder(environment.signals)
    for feed in feeds:
        own = log.settings.weights_of(feed)
        value = written(decoder.patched(own, wanted.weights), environment.signals)
        records.append(drawn.setting(log, f"weights/{feed}", value))
    write_settings(environment, records, drawn)
    change.tell(f"half of {pattern} has {arm}: {', '.join(feeds)}")


def _arm(file: WrittenExperiment, path: Path, name: str) -> Arm:
    arms = {arm.name: arm for arm in file.experiment.treatments}
    if name not in arms:
        raise UsageError(f"{path}: expected an arm ({', '.join(arms)}), got {name!r}")
    if arms[name].gates:
        place = list(file.experiment.shares).index(name)
        raise UsageError(
            f"{path}: Expected an arm of `weights` alone, got {name!r} - at"
            f" `$.arms[{place}].gates`; a gate is no dial"
        )
    return arms[name]


def _note_of(log: ConfigLog, key: str) -> str:
    entry = log.current(key)
    return "" if entry is None else entry.note or ""


def _drawn(
    environment: Environment, settings: Settings, pattern: str, file: WrittenExperiment
) -> list[str]:
    """Return half of the feeds of a pattern that exist, none of which has weights of its own."""
    reader = open_feed_reader(environment.redis, environment.redis_prefix)
    try:
        feeds = [one for one in reader.feeds() if one.startswith(pattern[:-1])]
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
    salt = f"{file.experiment.salt}\0{file.name}\0"
    by_hash = sorted(feeds, key=lambda feed: sha256(f"{salt}{feed}".encode()).digest())
    return sorted(by_hash[: len(feeds) // 2])


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("feed", nargs=-1, required=True)
@answers
def after(*, folder: Path, feed: tuple[str, ...]) -> Answer:
    """Compare the take-rate of each FEED two weeks before and after its weights changed.

    DIR is the folder of an export. The two days after the change are left out. Where 20 feeds got
    the change by `tune half` and 20 did not, the comparison is by feed, with a randomisation test;
    else by day. 'community:*' stands for all such feeds of the export.
    """
    from feedmill.experiments.export_folder import open_export
    from feedmill.experiments.tune_after import after_change, daily, feeds_of
    from feedmill.operations.experiments.export import ExportedSettings

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
    keys = [key for one in changed if (key := f"weights/{one}") in log.settings.offsets]
    notes = [_note_of(log, key) for key in keys]
    is_drawn = bool(notes) and all(note.startswith(_NOTE) for note in notes)
    size = f"{found.change:+.1%} ({found.lower:+.1%} to {found.upper:+.1%})"
    where = f"since {time_text(at_ms)}, in {len(changed)} of {len(feeds)} feeds"
    how, said = "day", "nothing was randomised, so whatever else changed then is in it"
    if found.p is not None:
        how, said = "feed", f"so much by chance in {found.p:.1%} of draws" if is_drawn else said
    commands = [f"config rollback {key}" for key in keys or ["weights"]]
    if is_drawn:
        name, _, arm = notes[0].removeprefix(f"{_NOTE} ").rpartition(".")
        commands = [f"tune half '{pattern_of(changed[0])}' {name}.json {arm} --undo"]
    content = {**vars(found), "at_ms": at_ms, "changed": changed, "drawn": is_drawn}
    lines = [f"take_rate {size} {where}", f"by {how}: {said}", "", "this takes it back:"]
    return Answer(content, [*lines, *(f"  feedmill {command}" for command in commands)])


def _changed(log: ConfigLog, feeds: Sequence[str]) -> tuple[list[str], int]:
    """Return the feeds whose weights changed last, and when."""
    changes = [
        (entry.at_ms, feed)
        for entry, before, after in steps_of(log)
        for feed in feeds
        if before.weights_of(feed) != after.weights_of(feed)
    ]
    if not changes:
        raise UsageError(
            f"no record of the export changes the weights of {', '.join(feeds[:5])}; give feeds"
            " that were changed, or an export that was made since"
        )
    last_ms, changed = max(changes)[0], list[str]()
    for at_ms, feed in changes:
        if at_ms > last_ms - _HOUR_MS:
            changed.append(feed)
        elif at_ms > last_ms - 14 * 24 * _HOUR_MS:
            raise UsageError(
                f"Expected one change in four weeks, got another of `{feed}` at {time_text(at_ms)}"
                " - at `weights`; compare feeds that changed once, or later"
            )
    return list(dict.fromkeys(changed)), last_ms
