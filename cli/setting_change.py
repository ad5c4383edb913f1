"""How commands change a setting: checked here first, written, answered by every instance."""

from __future__ import annotations

from collections.abc import Sequence

import click

from feedmill.cli.answers import answer_line, check_answers, instances_topic
from feedmill.cli.change_options import ChangeOptions
from feedmill.cli.gates import warn_of_gates
from feedmill.cli.output import print_json
from feedmill.events.errors import BadSetting
from feedmill.operations.changes import Change, write_changes
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.settings.config_log import ConfigLog, RawValue, encode_record, fold_log
from feedmill.streams.settings.environment import Environment
from feedmill.streams.settings.instances import (
    RECENT_MS,
    SettingAnswer,
    read_recent_instances,
    setting_answers,
)


def read_settings_log(environment: Environment) -> ConfigLog:
    """Return all records of `config`, and the settings that they lead to."""
    return fold_log(read_all(environment, "config"), environment.signals)


def change_setting(
    environment: Environment,
    log: ConfigLog,
    key: str,
    value: RawValue | None,
    change: ChangeOptions,
    *,
    if_offset: int | None = None,
    is_forced: bool = False,
) -> None:
    """Write a setting unless it would be refused, and report what each instance does with it.

    `log` is `config` as it was read before; `value` None removes the setting; `if_offset` is that
    of the record in force, unless that of `log` counts; `is_forced` sends what would be refused.

    Raises
    ------
    BadSetting
        It would be refused; nothing was written.
    FeedmillError
        An instance refused it, or was silent.
    """
    record = setting_record(log, key, value, change, if_offset=if_offset, is_forced=is_forced)
    write_settings(environment, [record], change)


def setting_record(
    log: ConfigLog,
    key: str,
    value: RawValue | None,
    change: ChangeOptions,
    *,
    if_offset: int | None = None,
    is_forced: bool = False,
) -> Change:
    """Return the record of a setting; raises `BadSetting` and takes what `change_setting` does."""
    expected = log.settings.offsets.get(key, -1) if if_offset is None else if_offset
    record = encode_record(value, by=change.by, note=change.note or None, if_offset=expected)
    if not is_forced:
        _check_applies(log, key, record)
        warn_of_experiments(log, key)
    entry = log.current(key)
    return Change("config", key, record, None if entry is None else entry.record)


def write_settings(
    environment: Environment, records: Sequence[Change], change: ChangeOptions
) -> None:
    """Write settings, all or none, and report what each instance does with the last one.

    Raises `FeedmillError` where an instance refused it, or was silent.
    """
    with instances_topic(environment, change.timeout_s) as reader:
        sent = write_changes(environment, change.made_by, records)
        offset, at_ms = sent[-1]
        instances = {} if reader is None else read_recent_instances(reader, at_ms)
        for record, one in zip(records, sent, strict=True):
            change.tell(f"`{record.key}` written at offset {one.offset}")
        if reader is not None and not instances:
            change.tell(
                f"no instance has reported in the last {RECENT_MS / 1000:.0f} s; instances apply it"
                " when they start"
            )
        answers: list[SettingAnswer] = []
        if reader is not None:
            for answer in setting_answers(reader, instances, offset, change.timeout_s):
                answers.append(answer)
                change.tell(answer_line(answer))
    if change.as_json:
        as_dicts = [answer.as_dict() for answer in answers]
        print_json({"key": records[-1].key, "offset": offset, "instances": as_dicts})
    check_answers(
        answers,
        change.timeout_s,
        "the setting",
        "see the log there, the setting is applied once it reads `config` again",
    )


def warn_of_experiments(log: ConfigLog, key: str) -> None:
    """Say on stderr which arms of running experiments do not follow a change of this setting."""
    kind, _, feed = key.partition("/")
    for name, one in log.settings.experiments.items():
        pinned = {arm.name: [*getattr(arm, kind)] for arm in one.arms if getattr(arm, kind, None)}
        if pinned and not one.stopped and (not feed or feed in one.feeds):
            arms = "; ".join(f"{arm} keeps its own {', '.join(of)}" for arm, of in pinned.items())
            click.echo(
                f"warning: the experiment `{name}` runs in {', '.join(one.feeds)}: {arms}; only the"
                " other arms get the change, so it compares something else from now on",
                err=True,
            )


def _check_applies(log: ConfigLog, key: str, record: bytes) -> None:
    settings = log.settings
    try:
        settings = settings.fold(key.encode(), record, settings.offset + 1)
    except BadSetting as error:
        raise BadSetting(f"refused, nothing was sent: {error}") from None
    kind, _, feed = key.partition("/")
    if kind == "gates":
        # The feeds that set some gates of their own inherit the others.
        for name in [feed] if feed else sorted({"", *settings.gates}):
            warn_of_gates(name, settings.gates_of(name))
