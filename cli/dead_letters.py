"""`feedmill dead-letters list|show|replay`: rejected records, why, and how to send them again."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from itertools import groupby
from typing import Any

import click
import msgspec

from feedmill.cli import COUNT, Duration, flag, option, together
from feedmill.cli.options import (
    asks_installation,
    by_option,
    made_by,
    note_option,
    with_environment,
)
from feedmill.cli.output import Answer, Columns, json_option, print_answer, say, show
from feedmill.events.errors import FeedmillError, UsageError
from feedmill.operations.dead_letter_replay import ReplayOutcome, open_replayer
from feedmill.operations.times import time_text
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.dead_letters import DeadLetterLog, LetterHead, Replay, open_dead_letters
from feedmill.streams.kafka.topic_table import topic_table
from feedmill.streams.settings.clock import now_ms

# What differs between letters of one reason: what was found, quoted texts, numbers.
_FOUND = re.compile(r", got .*?(?= - at | - in |$)")
_QUOTED = re.compile(r"'[^']*'")
_NUMBER = re.compile(r"\d+")


_filter_options = together(
    option("--topic", "Only those of one topic, such as posts."),
    option("--reason TEXT", "Only those whose reason has this text.", default=""),
    option("--since", "Only those of the last 90s, 30m, 2h or 7d.", Duration()),
    option("--until", "Only those that are at least so old.", Duration()),
)


def _chooser(
    environment: Environment,
    *,
    topic: str | None,
    reason: str,
    since: int | None,
    until: int | None,
) -> Callable[[LetterHead], bool]:
    """Return whether the options choose a letter; `UsageError` where there is no such topic."""
    names = [spec.name for spec in topic_table(environment.signals.all)]
    if topic is not None and topic not in names:
        close = get_close_matches(topic, names, 1)
        meant = f"did you mean `{close[0]}`?" if close else "`feedmill topics describe` lists them"
        raise UsageError(f"--topic: no topic `{topic}`; {meant}")
    now = now_ms()
    since_ms = 0 if since is None else now - since
    # A broker's clock may be ahead of this one.
    until_ms = now + 86_400_000 if until is None else now - until
    return lambda letter: (
        topic in (None, letter.rejected.topic)
        and reason.lower() in letter.error.lower()
        and since_ms <= letter.at_ms <= until_ms
    )


@click.group("dead-letters")
def dead_letters() -> None:
    """See which records broke the contract, and send them again once they are mended."""


@dead_letters.command("list")
@_filter_options
@option("--limit N", "Show the newest N.", COUNT, 50)
@flag("--counts", "Count them by topic and reason instead.")
@asks_installation
def list_command(environment: Environment, limit: int, counts: bool, **options: Any) -> Answer:
    """List dead letters, oldest first.  The first column is what `show` and `replay` take."""
    is_chosen = _chooser(environment, **options)
    with open_dead_letters(environment) as log:
        found = log.scan(is_chosen)
    if counts:
        columns = {"records>": "count", "topic": "topic", "reason": "reason"}
        return show(_counts(found.letters), columns)
    letters = [_shown(one, found.replays.get(one.rejected)) for one in found.letters[-limit:]]
    return show(letters, _COLUMNS, after=[f"{len(letters)} of {len(found.letters)} shown"])


@dead_letters.command("show")
@click.argument("number", metavar="ID", type=click.IntRange(min=0))
@flag("--value", "Print the record's value alone, as is.", "only_value")
@asks_installation
def show_command(environment: Environment, number: int, only_value: bool) -> Answer | None:
    """Show one dead letter whole: why, where the record stands, its key and its value."""
    with open_dead_letters(environment) as log:
        found = log.scan(lambda letter: letter.id == number)
        letter = _only(found.letters, number)
        key, value = log.record(letter)
    if only_value:
        click.get_binary_stream("stdout").write(value or b"")
        return None
    fields = _shown(letter, found.replays.get(letter.rejected))
    fields |= {**_content("key", key), **_content("value", value)}
    return Answer(fields, [f"{name}: {_plain(field)}" for name, field in fields.items()])


@dead_letters.command("replay")
@click.argument("numbers", metavar="[ID]...", type=click.IntRange(min=0), nargs=-1)
@flag("--all", "All that the options choose, without ids.", "take_all")
@_filter_options
@option(
    "--value FILE",
    "Send this value instead, of one letter; - is standard input.",
    click.Path(dir_okay=False, allow_dash=True),
    name="value_file",
)
@flag("--force", "Send also what was sent again before.")
@flag("--dry-run", "Check everything and send nothing.")
@by_option
@note_option
@json_option
@with_environment
def replay_command(
    environment: Environment,
    numbers: tuple[int, ...],
    take_all: bool,
    value_file: str | None,
    force: bool,
    dry_run: bool,
    by: str | None,
    note: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Send the records of dead letters to their topics again, each once.

    The record becomes the newest of its key.  A record that is still bad is not sent.  The records
    of a range letter are read from their topic.  Exits with 1 if one of them cannot be sent.
    """
    if bool(numbers) == take_all:
        raise click.UsageError("give the ids of letters, or --all with options that choose them")
    if value_file is not None and len(numbers) != 1:
        raise click.UsageError("--value needs the id of exactly one letter")
    is_chosen = _chooser(environment, **options)
    value = None if value_file is None else _read_value(value_file)
    with open_dead_letters(environment) as log:
        letters = _choose(log, numbers, is_chosen)
        with open_replayer(environment, log, made_by(by, note), at_ms=now_ms()) as replayer:
            outcomes = []
            found = replayer.replay(letters, value=value, force=force, dry_run=dry_run)
            for _, alike in groupby(found, key=_kind_of):
                outcomes += (some := [*alike])
                if not as_json:
                    say(_outcome_text(some, dry_run=dry_run))
    print_answer(_report(outcomes, dry_run=dry_run), as_json=as_json)


def _read_value(path: str) -> bytes:
    """Read what to send; raises `UsageError` where it cannot be read."""
    try:
        with click.open_file(path, "rb") as file:
            content: bytes = file.read()
            return content
    except OSError as error:
        raise UsageError(f"--value: cannot read {path}: {error.strerror}") from error


def _choose(
    log: DeadLetterLog, numbers: Sequence[int], is_chosen: Callable[[LetterHead], bool]
) -> list[LetterHead]:
    """The letters of these ids in this order; without ids all that are chosen."""
    if not numbers:
        return log.scan(is_chosen).letters
    wanted = frozenset(numbers)
    found = log.scan(lambda letter: letter.id in wanted and is_chosen(letter)).letters
    return [_only([letter for letter in found if letter.id == n], n) for n in numbers]


def _only(letters: Sequence[LetterHead], number: int) -> LetterHead:
    if not letters:
        raise UsageError(
            f"there is no dead letter {number}; `feedmill dead-letters list` shows which there are"
        )
    return letters[0]


def _report(outcomes: Sequence[ReplayOutcome], *, dry_run: bool) -> Answer:
    sent = sum(not outcome.refusal for outcome in outcomes)
    refused = sum(bool(one.refusal) and not _is_done(one) for one in outcomes)
    verb = "would be sent" if dry_run else "sent"
    skipped = len(outcomes) - sent - refused
    content = [
        {
            **_shown(outcome.letter, outcome.already),
            "sent": not outcome.refusal and not dry_run,
            "refusal": outcome.refusal or None,
            "to_partition": outcome.partition,
            "to_offset": outcome.offset,
        }
        for outcome in outcomes
    ]
    failure = FeedmillError(f"{refused} of {len(outcomes)} records cannot be sent")
    text = f"{sent} {verb}, {skipped} skipped, {refused} refused"
    return Answer(content, [text], failure if refused else None)


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


def _shown(letter: LetterHead, replay: Replay | None) -> dict[str, Any]:
    """Return a letter as commands show it, with the last time that its record was sent again."""
    return {
        "id": letter.id,
        "at_ms": letter.at_ms,
        **letter.rejected._asdict(),
        "stage": letter.stage,
        "error": letter.error,
        "records": letter.records or 1,
        "key_is_cut": letter.key_is_cut,
        "value_is_cut": letter.value_is_cut,
        "replay": None if replay is None else msgspec.to_builtins(replay),
    }


_COLUMNS: Columns = {
    "id>": "id",
    "written": "at_ms:time",
    "topic": "topic",
    "partition>": "partition",
    "offset>": "offset",
    "records>": "records",
    "sent again": lambda letter: time_text(letter["replay"]["at_ms"]) if letter["replay"] else "",
    "reason": "error",
}


def _counts(letters: Sequence[LetterHead]) -> list[dict[str, Any]]:
    counts = Counter[tuple[str, str]]()
    for one in letters:
        counts[one.rejected.topic, _general(one.error)] += one.records or 1
    return [
        {"topic": topic, "reason": reason, "count": count}
        for (topic, reason), count in counts.most_common()
    ]


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
