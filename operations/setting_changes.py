"""Changes of settings as the words of a command line say them, and what they would do."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from feedmill.events.errors import BadSetting, UsageError
from feedmill.events.gates import GatePolicy
from feedmill.events.rules import Rule
from feedmill.events.settings import Settings
from feedmill.events.weights import OBJECTIVE_ALIASES
from feedmill.operations.changes import Change, MadeBy
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all
from feedmill.streams.settings.config_log import ConfigLog, RawValue, encode_record, fold_log


def read_settings_log(environment: Environment) -> ConfigLog:
    """Return all records of `config`, and the settings that they lead to."""
    return fold_log(read_all(environment, "config"), environment.signals)


def setting_record(
    log: ConfigLog,
    key: str,
    value: RawValue | None,
    made_by: MadeBy,
    *,
    if_offset: int | None = None,
    is_forced: bool = False,
) -> Change:
    """Return the record of a setting; `value` None removes the setting.

    `log` is `config` as it was read before; `if_offset` is that of the record in force, unless that
    of `log` counts; `is_forced` makes a record that would be refused.

    Raises `BadSetting` where it would be refused.
    """
    expected = log.settings.offsets.get(key, -1) if if_offset is None else if_offset
    record = encode_record(value, by=made_by.by, note=made_by.note or None, if_offset=expected)
    if not is_forced:
        try:
            log.settings.fold(key.encode(), record, log.settings.offset + 1)
        except BadSetting as error:
            raise BadSetting(f"refused, nothing was sent: {error}") from None
    entry = log.current(key)
    return Change("config", key, record, None if entry is None else entry.record)


def setting_warnings(log: ConfigLog, change: Change) -> Iterator[str]:
    """Yield what is hardly meant of a setting that applies, and which arms do not follow it."""
    kind, _, feed = change.key.partition("/")
    if kind == "gates":
        settings = log.settings
        settings = settings.fold(change.key.encode(), change.value, settings.offset + 1)
        # The feeds that set some gates of their own inherit the others.
        for name in [feed] if feed else sorted({"", *settings.gates}):
            yield from gate_warnings(name, settings.gates_of(name))
    for name, one in log.settings.experiments.items():
        pinned = {arm.name: [*getattr(arm, kind)] for arm in one.arms if getattr(arm, kind, None)}
        if pinned and not one.stopped and (not feed or feed in one.feeds):
            arms = "; ".join(f"{arm} keeps its own {', '.join(of)}" for arm, of in pinned.items())
            yield (
                f"warning: the experiment `{name}` runs in {', '.join(one.feeds)}: {arms}; only the"
                " other arms get the change, so it compares something else from now on"
            )


def gate_warnings(feed: str, gates: Mapping[str, GatePolicy]) -> Iterator[str]:
    """Yield what of the gates of a feed, "" for the general ones, is hardly meant."""
    for name, policy in gates.items():
        if warning := policy.warning():
            yield f"warning: {name}{f' of {feed}' if feed else ''}: {warning}"


# Settings whose fields are no texts, and what they are.
_OF_NUMBERS = {
    "weights": "a number, such as 0.2",
    "gates": "a number from 0 to 1, true, false or null",
}


def parse_setting_value(log: ConfigLog, key: str, words: tuple[str, ...]) -> RawValue | None:
    """Return the whole value that `config set KEY WORDS…` asks for; None removes the setting.

    One word of JSON is the value itself. Pairs such as ``scale.beta=20`` change fields of the
    current value, the one that `log` has. Under `rules/<filter>`, ``<rule>=null`` removes a rule.
    Whether the value is valid for its key is not checked here.  Raises `UsageError` where the words
    are neither JSON nor pairs, or give an objective twice.
    """
    kind = key.partition("/")[0]
    if len(words) == 1 and (words[0].lstrip()[:1] in ("{", "[", '"') or words[0] == "null"):
        return _parse_json(words[0], kind)
    pairs = [_parse_pair(word, kind) for word in words]
    value = _current_value(log, key, kind)
    for path, field in pairs:
        if kind == "rules" and len(path) == 1 and field is None:
            value.pop(path[0], None)
        else:
            _set_field(value, path, field)
    return value


def _current_value(log: ConfigLog, key: str, kind: str) -> RawValue:
    value = log.written_value(key)
    if value is None and kind == "weights":
        # A record of weights must name both objectives, so pairs never start from nothing.
        value = log.written_value("weights") or _built_in_weights(log)
    return copy.deepcopy(value or {})


def _built_in_weights(log: ConfigLog) -> RawValue:
    objectives = log.settings.weights_of("").objectives
    return {name: weight for name, weight in objectives.items() if weight}


def _parse_json(text: str, kind: str) -> RawValue | None:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(
            f"the value is not JSON: {error}; correct it, or write name=value pairs instead"
        ) from None
    if kind != "weights" or not isinstance(value, dict):
        return value  # type: ignore[no-any-return]  # what is no object, `Settings` refuses
    if isinstance(value.get("scale"), dict):
        value["scale"] = _without_aliases(value["scale"])
    return _without_aliases(value)


def _without_aliases(value: RawValue) -> RawValue:
    renamed = {OBJECTIVE_ALIASES.get(name, name): field for name, field in value.items()}
    if len(renamed) < len(value):
        raise UsageError("alpha means quality and beta means engagement; give each only once")
    return renamed


def _parse_pair(word: str, kind: str) -> tuple[list[str], Any]:
    """Return the path of a field and its new value; what is no JSON is taken as text."""
    name, equals, text = word.partition("=")
    path = _rule_path(name) if kind == "rules" else name.split(".")
    if not equals or not all(path):
        file = word.removeprefix("@")
        content = f'; for what that file has: "$(cat {shlex.quote(file)})"'
        raise UsageError(
            f"expected JSON or name=value pairs, such as alpha=0.2, got {word!r}"
            + (content if Path(file).is_file() else "")
        )
    if kind == "weights":
        path = [OBJECTIVE_ALIASES.get(part, part) for part in path]
    try:
        return path, msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        if kind in _OF_NUMBERS:
            raise UsageError(f"{name}: expected {_OF_NUMBERS[kind]}, got {text!r}") from None
        return path, text


def _rule_path(name: str) -> list[str]:
    """Split the field from a rule's name, which may have dots itself."""
    rule, _, field = name.rpartition(".")
    return [rule, field] if field in Rule.__struct_fields__ else [name]


def _set_field(value: RawValue, path: list[str], field: object) -> None:
    for part in path[:-1]:
        inner = value.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UsageError(
                f"`{part}` is a value without fields, so {'.'.join(path)} cannot be set; set"
                f" `{part}` itself, or give the whole setting as JSON"
            )
        value = inner
    value[path[-1]] = field


class SettingWords(NamedTuple):
    """What would be set under a key: the words after `config set KEY`."""

    key: str
    words: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command that sets it."""
        return f"feedmill config set {self.key} {shlex.join(self.words)}"


def words_by_setting(
    words: Sequence[str], feed: str, gates: Sequence[str]
) -> tuple[SettingWords, ...]:
    """Tell words for `weights/<feed>` from those for `gates/<feed>`, by the names of the gates.

    Words are pairs, or JSON of one of the two settings.
    """
    of_gates = tuple(word for word in words if _names_gate(word, gates))
    of_weights = tuple(word for word in words if word not in of_gates)
    found = (SettingWords(f"weights/{feed}", of_weights), SettingWords(f"gates/{feed}", of_gates))
    return tuple(one for one in found if one.words)


def changed_settings(log: ConfigLog, changes: Sequence[SettingWords]) -> Settings:
    """Return the settings in force with changes.

    Raises `UsageError` where the words are neither JSON nor pairs, `BadSetting` where a stage would
    refuse the change.
    """
    settings = log.settings
    for key, words in changes:
        try:
            record = encode_record(parse_setting_value(log, key, words))
            settings = settings.fold(key.encode(), record, settings.offset + 1)
        except BadSetting as error:
            raise BadSetting(f"`{key}` would be refused: {error}") from None
    return settings


def _names_gate(word: str, gates: Sequence[str]) -> bool:
    return any(name.partition(".")[0] in gates for name in _names(word))


def _names(word: str) -> Iterator[str]:
    """The fields that a word names: of a pair its own, of JSON those of the object."""
    if not word.lstrip().startswith("{"):
        yield word.partition("=")[0]
        return
    try:
        yield from msgspec.json.decode(word, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError):
        return  # whoever parses the value says what is wrong
