"""A change that a command writes to Kafka, and the answers of the running instances to it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from feedmill.cli import SECONDS, Command, Option, option
from feedmill.cli.options import by_option, made_by, note_option, with_environment
from feedmill.cli.output import Answer, json_option, print_answer, say, warn
from feedmill.events.errors import FeedmillError, UsageError
from feedmill.events.gates import GatePolicy
from feedmill.operations.changes import AwaitedChange, Change, MadeBy, user_name
from feedmill.operations.setting_changes import (
    gate_warnings,
    setting_record,
    setting_warnings,
)
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import SentRecord
from feedmill.streams.settings.config_log import ConfigLog, RawValue
from feedmill.streams.settings.instances import RECENT_MS, SettingAnswer


def timeout_option(seconds: float, what: str = "for the instances' answers") -> Option:
    """Return `--timeout`, of so many seconds unless somebody says otherwise."""
    return option(
        "--timeout SECONDS",
        f"How long to wait {what}; 0: do not wait.",
        SECONDS,
        seconds,
        name="timeout_s",
    )


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

    def setting(self, log: ConfigLog, key: str, value: RawValue | None, **options: Any) -> Change:
        """Return the record of a setting; prints on stderr what is hardly meant.

        Takes and raises what `setting_record` does.
        """
        record = setting_record(log, key, value, self.made_by, **options)
        if not options.get("is_forced"):
            for warning in setting_warnings(log, record):
                warn(warning)
        return record

    def awaited(
        self,
        environment: Environment,
        say_written: Callable[[Sequence[SentRecord], int | None], None],
    ) -> AwaitedChange:
        """Return the change as `operations` makes it; tells each answer."""

        def say_answer(answer: SettingAnswer) -> None:
            if answer.state == "silent":
                self.tell(f"  silent   {answer.instance}")
            else:
                reason = "" if answer.reason is None else f": {answer.reason}"
                self.tell(f"  {answer.state:8} {answer.instance}  {answer.ms} ms{reason}")

        return AwaitedChange(environment, self.made_by, self.timeout_s, say_written, say_answer)

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
        for add in every:
            decorated = add(decorated)
        return decorated

    return decorate


with_named_change = with_change(by_option)
with_noted_change = with_change(by_option, note_option)
with_setting_change = functools.partial(with_change, timeout=timeout_option(15.0))


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

    Takes what `setting_record` takes. Raises `BadSetting` where it would be refused, and nothing
    was written; `FeedmillError` where an instance refused it, or was silent.
    """
    record = change.setting(log, key, value, if_offset=if_offset, is_forced=is_forced)
    write_settings(environment, [record], change)


def write_settings(
    environment: Environment, records: Sequence[Change], change: ChangeOptions
) -> None:
    """Write settings, all or none, and report what each instance does with the last one.

    Raises `FeedmillError` where an instance refused it, or was silent.
    """

    def say_written(places: Sequence[SentRecord], instances: int | None) -> None:
        for record, place in zip(records, places, strict=True):
            change.tell(f"`{record.key}` written at offset {place.offset}")
        if instances == 0:
            change.tell(
                f"no instance has reported in the last {RECENT_MS / 1000:.0f} s; instances"
                " apply it when they start"
            )

    written = change.awaited(environment, say_written).write(records)
    otherwise = "see the log there, the setting is applied once it reads `config` again"
    found = {"key": records[-1].key, "offset": written.offset}
    change.report(found, written.answers, "the setting", otherwise)


def warn_of_gates(feed: str, gates: Mapping[str, GatePolicy]) -> None:
    """Print on stderr what of the gates of a feed, "" for the general ones, is hardly meant."""
    for warning in gate_warnings(feed, gates):
        warn(warning)


@contextmanager
def words_checked() -> Iterator[None]:
    """Say what is wrong with words of a setting as a wrong use of the command."""
    try:
        yield
    except UsageError as error:
        raise click.UsageError(str(error)) from None
