"""`feedmill dead-letters list|show|replay`: rejected records, why, and how to send them again."""

from __future__ import annotations

import base64
import functools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby
from typing import Any

import click

from feedmill.cli.change_options import note_option
from feedmill.cli.duration import Duration
from feedmill.cli.made_by import made_by
from feedmill.cli.options import by_option, with_environment
from feedmill.cli.output import json_option, print_json, print_table, time_text
from feedmill.events.errors import FeedmillError, UsageError
from feedmill.operations.dead_letter_replay import ReplayOutcome, open_replayer
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.dead_letters import (
    DeadLetterLog,
    LetterHead,
    Replay,
    open_dead_letters,
)
from feedmill.streams.kafka.topic_table import topic_table
from feedmill.streams.settings.clock import now_ms

# What differs between letters of one reason: what was found, quoted texts, numbers.
_FOUND = re.compile(r", got .*?(?= - at | - in |$)")
_QUOTED = re.compile(r"'[^']*'")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class LetterFilter:
    """Which letters a command is about; None and "" choose all."""

    topic: str | None
    reason: str
    since_ms: int
    until_ms: int

    def wants(self, letter: LetterHead) -> bool:
        """Return whether a letter is one of them."""
        return (
            self.topic in (None, letter.rejected.topic)
            and self.reason.lower() in letter.error.lower()
            and self.since_ms <= letter.at_ms <= self.until_ms
        )


def _check_topic(environment: Environment, chosen: LetterFilter) -> None:
    """Raise `UsageError` where the topic is none of this installation."""
    names = [spec.name for spec in topic_table(environment.signals.all)]
    if chosen.topic is not None and chosen.topic not in names:
        close = get_close_matches(chosen.topic, names, 1)
        meant = f"did you mean `{close[0]}`?" if close else "`feedmill topics describe` lists them"
        raise UsageError(f"--topic: no topic `{chosen.topic}`; {meant}")


def _filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose letters; the command gets them as `chosen`."""

    @functools.wraps(command)
    def with_filter(
        *args: Any,
        topic: str | None,
        reason: str,
        since: int | None,
        until: int | None,
        **options: Any,
    ) -> Any:
        now = now_ms()
        since_ms = 0 if since is None else now - since
        # A broker's clock may be ahead of this one.
        until_ms = now + 86_400_000 if until is None else now - until
        chosen = LetterFilter(topic, reason, since_ms, until_ms)
        return command(*args, chosen=chosen, **options)

    for decorate in (
        click.option("--until", type=Duration(), help="Only those that are at least so old."),
        click.option("--since", type=Duration(), help="Only those of the last 90s, 30m, 2h or 7d."),
        click.option(
            "--reason", default="", metavar="TEXT", help="Only those whose reason has this text."
        ),
        click.option("--topic", help="Only those of one topic, such as posts."),
    ):
        with_filter = decorate(with_filter)
    return with_filter


@click.group("dead-letters")
def dead_letters() -> None:
    """See which records broke the contract, and send them again once they are mended."""


@dead_letters.command("list")
@_filter_options
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="Show the newest N.",
)
@click.option("--counts", is_flag=True, help="Count them by topic and reason instead.")
@json_option
@with_environment
def list_command(
    environment: Environment, chosen: LetterFilter, limit: int, counts: bool, as_json: bool
) -> None:
    """List dead letters, oldest first.  The first column is what `show` and `replay` take."""
    _check_topic(environment, chosen)
    with open_dead_letters(environment) as log:
        found = log.scan(chosen.wants)
    if counts:
        _print_counts(found.letters, as_json)
        return
    shown = found.letters[-limit:]
    replays = [found.replays.get(letter.rejected) for letter in shown]
    if as_json:
        print_json([_as_dict(*pair) for pair in zip(shown, replays, strict=True)])
        return
    columns = (
        *("id>", "written", "topic", "partition>", "offset>", "records>", "sent again"),
        "reason",
    )
    print_table(columns, [_row(*pair) for pair in zip(shown, replays, strict=True)])
    click.echo(f"{len(shown)} of {len(found.letters)} shown")


@dead_letters.command("show")
@click.argument("number", metavar="ID", type=click.IntRange(min=0))
@click.option("--value", "only_value", is_flag=True, help="Print the record's value alone, as is.")
@json_option
@with_environment
def show_command(environment: Environment, number: int, only_value: bool, as_json: bool) -> None:
    """Show one dead letter whole: why, where the record stands, its key and its value."""
    with open_dead_letters(environment) as log:
        found = log.scan(lambda letter: letter.id == number)
        letter = _only(found.letters, number)
        key, value = log.record(letter)
    if only_value:
        click.get_binary_stream("stdout").write(value or b"")
        return
    fields = _as_dict(letter, found.replays.get(letter.rejected))
    fields |= {**_content("key", key), **_content("value", value)}
    if as_json:
        print_json(fields)
        return
    for name, field in fields.items():
        click.echo(f"{name}: {_plain(field)}")


@dead_letters.command("replay")
@click.argument("numbers", metavar="[ID]...", type=click.IntRange(min=0), nargs=-1)
@click.option("--all", "take_all", is_flag=True, help="All that the options choose, without ids.")
@_filter_options
@click.option(
    "--value",
    "value_file",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Send this value instead, of one letter; - is standard input.",
)
@click.option("--force", is_flag=True, help="Send also what was sent again before.")
@click.option("--dry-run", is_flag=True, help="Check everything and send nothing.")
@by_option
@note_option
@json_option
@with_environment
def replay_command(
    environment: Environment,
    numbers: tuple[int, ...],
    take_all: bool,
    chosen: LetterFilter,
    value_file: str | None,
    by: str | None,
    note: str,
    as_json: bool,
    **options: bool,
) -> None:
    """Send the records of dead letters to their topics again, each once.

    The record becomes the newest of its key.  A record that is still bad is not sent.  The records
    of a range letter are read from their topic.  Exits with 1 if one of them cannot be sent.
    """
    if bool(numbers) == take_all:
        raise click.UsageError("give the ids of letters, or --all with options that choose them")
    if value_file is not None and len(numbers) != 1:
        raise click.UsageError("--value needs the id of exactly one letter")
    _check_topic(environment, chosen)
    value = None if value_file is None else _read_value(value_file)
    with open_dead_letters(environment) as log:
        letters = _choose(log, numbers, chosen)
        with open_replayer(environment, log, made_by(by, note), at_ms=now_ms()) as replayer:
            outcomes = []
            found = replayer.replay(letters, value=value, **options)
            for _, alike in groupby(found, key=_kind_of):
                outcomes += (some := [*alike])
                if not as_json:
                    click.echo(_outcome_text(some, dry_run=options["dry_run"]))
    _report(outcomes, as_json, dry_run=options["dry_run"])


def _read_value(path: str) -> bytes:
    """Read what to send; raises `UsageError` where it cannot be read."""
    try:
        with click.open_file(path, "rb") as file:
            content: bytes = file.read()
            return content
    except OSError as error:
        raise UsageError(f"--value: cannot read {path}: {error.strerror}") from error


def _choose(log: DeadLetterLog, numbers: Sequence[int], chosen: LetterFilter) -> list[LetterHead]:
    """The letters of these ids in this order; without ids all that are chosen."""
    if not numbers:
        return log.scan(chosen.wants).letters
    wanted = frozenset(numbers)
    found = log.scan(lambda letter: letter.id in wanted and chosen.wants(letter)).letters
    return [_only([letter for letter in found if letter.id == n], n) for n in numbers]


def _only(letters: Sequence[LetterHead], number: int) -> LetterHead:
    if not letters:
        raise UsageError(
            f"there is no dead letter {number}; `feedmill dead-letters list` shows which there are"
        )
    return letters[0]


def _report(outcomes: Sequence[ReplayOutcome], as_json: bool, *, dry_run: bool) -> None:
    sent = sum(not outcome.refusal for outcome in outcomes)
    refused = [one for one in outcomes if one.refusal and not _is_done(one)]
    if as_json:
        print_json([_outcome_as_dict(outcome, dry_run=dry_run) for outcome in outcomes])
    else:
        verb = "would be sent" if dry_run else "sent"
        skipped = len(outcomes) - sent - len(refused)
        click.echo(f"{sent} {verb}, {skipped} skipped, {len(refused)} refused")
    if refused:
        raise FeedmillError(f"{len(refused)} of {len(outcomes)} records cannot be sent")


def _is_done(outcome: ReplayOutcome) -> bool:
    """Whether the record was not sent because it stands in its topic already."""
    return outcome.already is not None or outcome.is_repetition


def _kind_of(outcome: ReplayOutcome) -> object:
    """What outcomes have in common that share a line: records of a letter that are all refused."""
    is_refused = outcome.refusal and not _is_done(outcome)
    return (outcome.letter.id, _general(outcome.refusal)) if is_refused else outcome


def _outcome_text(some: Sequence[ReplayOutcome], *, dry_run: bool) -> str:
    outcome, rejected = some[0], some[0].letter.rejected
    what = f"{outcome.letter.id}: {rejected.topic}[{rejected.partition}] offset {rejected.offset}"
    if len(some) > 1:
        what += f" to {some[-1].letter.rejected.offset}, {len(some)} records,"
    if outcome.already is not None:
        return f"{what} was sent again before: {_replay_text(outcome.already)}; --force repeats it"
    if outcome.refusal:
        return f"{what} not sent: {outcome.refusal}"
    if dry_run:
        return f"{what} would be sent to partition {outcome.partition}"
    return f"{what} sent to partition {outcome.partition} at offset {outcome.offset}"


def _outcome_as_dict(outcome: ReplayOutcome, *, dry_run: bool) -> dict[str, Any]:
    return {
        **_as_dict(outcome.letter, outcome.already),
        "sent": not outcome.refusal and not dry_run,
        "refusal": outcome.refusal or None,
        "to_partition": outcome.partition,
        "to_offset": outcome.offset,
    }


def _as_dict(letter: LetterHead, replay: Replay | None) -> dict[str, Any]:
    return {
        "id": letter.id,
        "at_ms": letter.at_ms,
        **letter.rejected._asdict(),
        "stage": letter.stage,
        "error": letter.error,
        "records": letter.records or 1,
        "key_is_cut": letter.key_is_cut,
        "value_is_cut": letter.value_is_cut,
        "replay": None if replay is None else _replay_as_dict(replay),
    }


def _replay_as_dict(replay: Replay) -> dict[str, Any]:
    return {
        "at_ms": replay.at_ms,
        "by": replay.by,
        "partition": replay.partition,
        "offset": replay.offset,
        "edited": replay.edited,
    }


def _row(letter: LetterHead, replay: Replay | None) -> tuple[str, ...]:
    return (
        str(letter.id),
        time_text(letter.at_ms),
        letter.rejected.topic,
        str(letter.rejected.partition),
        str(letter.rejected.offset),
        str(letter.records or 1),
        "" if replay is None else time_text(replay.at_ms),
        letter.error,
    )


def _print_counts(letters: Sequence[LetterHead], as_json: bool) -> None:
    counts = Counter[tuple[str, str]]()
    for one in letters:
        counts[one.rejected.topic, _general(one.error)] += one.records or 1
    counted = counts.most_common()
    if as_json:
        print_json([{"topic": t, "reason": r, "count": n} for (t, r), n in counted])
        return
    print_table(("records>", "topic", "reason"), [(str(n), t, r) for (t, r), n in counted])


def _general(reason: str) -> str:
    """A reason without what differs between the records that it holds for."""
    return _NUMBER.sub("N", _QUOTED.sub("'…'", _FOUND.sub("", reason)))


def _replay_text(replay: Replay) -> str:
    edited = ", edited" if replay.edited else ""
    return (
        f"by {replay.by} at {time_text(replay.at_ms)}, to partition {replay.partition} at offset"
        f" {replay.offset}{edited}"
    )


def _content(name: str, content: bytes | None) -> dict[str, str | None]:
    """Bytes as text; as base64 where they are none."""
    if content is None:
        return {name: None}
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content).decode()}


def _plain(field: object) -> str:
    if field is None:
        return "none"
    return (
        ", ".join(f"{k} {v}" for k, v in field.items()) if isinstance(field, dict) else str(field)
    )
