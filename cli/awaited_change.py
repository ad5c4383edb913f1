"""A change that a command writes to Kafka, and the answers of the running instances to it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from feedmill.cli.options import Command, by_option, made_by, with_environment
from feedmill.cli.output import Answer, json_option, print_answer, say, warn
from feedmill.events.errors import BadSetting, FeedmillError
from feedmill.events.gates import GatePolicy
from feedmill.operations.changes import Change, MadeBy, user_name, write_changes
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import TopicReader, open_topic, read_all
from feedmill.streams.settings.config_log import ConfigLog, RawValue, encode_record, fold_log
from feedmill.streams.settings.instances import (
    RECENT_MS,
    SettingAnswer,
    read_recent_instances,
    setting_answers,
)

Option = Callable[[Command], Command]


def timeout_option(seconds: float, what: str = "for the instances' answers") -> Option:
    """Return `--timeout`, of so many seconds unless somebody says otherwise."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0),
        default=seconds,
        show_default=True,
        metavar="SECONDS",
        help=f"How long to wait {what}; 0: do not wait.",
    )


note_option = click.option("--note", default="", metavar="TEXT", help="Why.")
# Workers try a version before they run it.
_release_timeout = timeout_option(90.0)


@dataclass(frozen=True)
class ChangeOptions:
    """Who changes what runs and why, how long to wait for the instances, and how to print that.

    `tell` gets a line for each step.
    """

    by: str
    note: str
    timeout_s: float
    as_json: bool
    tell: Callable[[str], None]

    @property
    def made_by(self) -> MadeBy:
        """Who and why, for the audit."""
        return made_by(self.by, self.note)

    def report(
        self,
        found: Mapping[str, object],
        answers: Sequence[SettingAnswer],
        what: str,
        otherwise: str,
        if_refused: str = "",
    ) -> None:
        """Print JSON of what was written and answered; fail where an instance did not apply it.

        `what` was written, silent instances will do what `otherwise` says, and `if_refused` is
        said after the reason of a refusal.
        """
        refused = [answer for answer in answers if answer.state == "refused"]
        silent = [answer.instance for answer in answers if answer.state == "silent"]
        failure = None
        if refused:
            names = ", ".join(answer.instance for answer in refused)
            failure = FeedmillError(f"refused by {names}: {refused[0].reason}{if_refused}")
        elif silent:
            failure = FeedmillError(
                f"{what} is written, but {', '.join(silent)} did not answer within"
                f" {self.timeout_s:g} s; {otherwise}"
            )
        answer = Answer({**found, "instances": answers}, failure=failure)
        print_answer(answer, as_json=self.as_json)


def with_change(
    *options: Option, timeout: Option = _release_timeout
) -> Callable[[Command], Command]:
    """Give a command an environment and `change: ChangeOptions`.

    It has `--timeout`, `--json` and these options, which may be `by_option` and `note_option`.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(
            *args: object,
            timeout_s: float,
            as_json: bool,
            by: str | None = None,
            note: str = "",
            **others: Any,
        ) -> Any:
            tell: Callable[[str], None] = (lambda _: None) if as_json else say
            change = ChangeOptions(by or user_name(), note, timeout_s, as_json, tell)
            return command(*args, change=change, **others)

        decorated = with_environment(wrapped)
        every: Sequence[Option] = (json_option, timeout, *reversed(options))
        for option in every:
            decorated = option(decorated)
        return decorated

    return decorate


with_named_change = with_change(by_option)
with_noted_change = with_change(by_option, note_option)
with_setting_change = functools.partial(with_change, timeout=timeout_option(15.0))


@contextmanager
def instances_topic(environment: Environment, timeout_s: float) -> Iterator[TopicReader | None]:
    """Open `instances` before the record is sent, which may then fail; None: do not wait."""
    if not timeout_s:
        yield None
        return
    with open_topic(environment, "instances") as reader:
        yield reader


def told_answers(
    answers: Iterable[SettingAnswer], tell: Callable[[str], None]
) -> Iterator[SettingAnswer]:
    """Yield answers as they come, each told in a line."""
    for answer in answers:
        if answer.state == "silent":
            tell(f"  silent   {answer.instance}")
        else:
            reason = "" if answer.reason is None else f": {answer.reason}"
            tell(f"  {answer.state:8} {answer.instance}  {answer.ms} ms{reason}")
        yield answer


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

    Raises `BadSetting` where it would be refused, and nothing was written; `FeedmillError` where an
    instance refused it, or was silent.
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
        _warn_of_experiments(log, key)
    entry = log.current(key)
    return Change("config", key, record, None if entry is None else entry.record)


def write_settings(
    environment: Environment, records: Sequence[Change], change: ChangeOptions
) -> None:
    """Write settings, all or none, and report what each instance does with the last one.

    Raises `FeedmillError` where an instance refused it, or was silent.
    """
    answers: list[SettingAnswer] = []
    with instances_topic(environment, change.timeout_s) as reader:
        sent = write_changes(environment, change.made_by, records)
        offset, at_ms = sent[-1]
        instances = {} if reader is None else read_recent_instances(reader, at_ms)
        for record, place in zip(records, sent, strict=True):
            change.tell(f"`{record.key}` written at offset {place.offset}")
        if reader is not None:
            if not instances:
                change.tell(
                    f"no instance has reported in the last {RECENT_MS / 1000:.0f} s; instances"
                    " apply it when they start"
                )
            found = setting_answers(reader, instances, offset, change.timeout_s)
            answers += told_answers(found, change.tell)
    otherwise = "see the log there, the setting is applied once it reads `config` again"
    change.report({"key": records[-1].key, "offset": offset}, answers, "the setting", otherwise)


def _warn_of_experiments(log: ConfigLog, key: str) -> None:
    """Say on stderr which arms of running experiments do not follow a change of this setting."""
    kind, _, feed = key.partition("/")
    for name, one in log.settings.experiments.items():
        pinned = {arm.name: [*getattr(arm, kind)] for arm in one.arms if getattr(arm, kind, None)}
        if pinned and not one.stopped and (not feed or feed in one.feeds):
            arms = "; ".join(f"{arm} keeps its own {', '.join(of)}" for arm, of in pinned.items())
            warn(
                f"warning: the experiment `{name}` runs in {', '.join(one.feeds)}: {arms}; only the"
                " other arms get the change, so it compares something else from now on"
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


def warn_of_gates(feed: str, gates: Mapping[str, GatePolicy]) -> None:
    """Print on stderr what of the gates of a feed, "" for the general ones, is hardly meant."""
    for name, policy in gates.items():
        if warning := policy.warning():
            warn(f"warning: {name}{f' of {feed}' if feed else ''}: {warning}")
