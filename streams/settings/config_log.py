"""The log of `config` as an operator sees it: what was written, what of it holds, and why.

Pure: records in, views out.  `Settings.fold` decides, as it does in every stage.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from feedmill.events.errors import BadSetting, UsageError
from feedmill.events.rules import Rule
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.events.weights import OBJECTIVE_ALIASES
from feedmill.streams.kafka.topic_reader import TopicRecord

RawValue = dict[str, Any]
_FIRST_WEIGHTS: RawValue = {"quality": 0.5, "engagement": 0.5}


@dataclass(frozen=True)
class Entry:
    """One record of `config`; `value` is None where it removes the setting or says nothing."""

    offset: int
    at_ms: int
    key: str
    value: RawValue | None
    by: str | None
    note: str | None
    refused: str | None

    @property
    def applied(self) -> bool:
        return self.refused is None

    def as_dict(self) -> dict[str, Any]:
        state = {"applied": self.applied, "reason": self.refused}
        known = {"key": self.key, "offset": self.offset, "at_ms": self.at_ms, "value": self.value}
        return {**known, "by": self.by, "note": self.note, **state}


@dataclass(frozen=True)
class ConfigLog:
    """The folded log: the settings that hold, and every record with its fate."""

    settings: Settings
    entries: tuple[Entry, ...]

    def history(self, key: str | None = None) -> list[Entry]:
        return [entry for entry in self.entries if key is None or entry.key == key]

    def current(self, key: str) -> Entry | None:
        """The last applied record of a key, unless it removed the setting."""
        offset = self.settings.offsets.get(key)
        return next((entry for entry in self.entries if entry.offset == offset), None)

    def raw(self, key: str) -> RawValue | None:
        entry = self.current(key)
        return None if entry is None else entry.value

    def earlier(self, key: str, to: int | None) -> Entry | None:
        """The record a rollback returns to: the one at `to`, else the applied one before the last.

        None: there was no setting before, the rollback removes it.

        Raises
        ------
        UsageError
            There is nothing to go back from, or `to` is no applied record of this key.
        """
        applied = [entry for entry in self.history(key) if entry.applied]
        if to is not None:
            for entry in applied:
                if entry.offset == to:
                    return entry
            raise UsageError(f"`{key}` has no applied record at {to}; see `config history {key}`")
        if not applied:
            raise UsageError(f"`{key}` was never set; there is nothing to go back from")
        return applied[-2] if len(applied) > 1 else None


def fold_log(records: Iterable[TopicRecord], names: SignalNames) -> ConfigLog:
    """Fold the log from its beginning."""
    settings = Settings(names=names)
    entries = []
    for record in records:
        refused = None
        try:
            settings = settings.fold(record.key, record.value, record.offset)
        except BadSetting as error:
            refused = str(error)
            settings = settings.skip(record.offset)
        entries.append(_entry(record, refused))
    return ConfigLog(settings, tuple(entries))


def _entry(record: TopicRecord, refused: str | None) -> Entry:
    key = (record.key or b"").decode("utf-8", "replace")
    try:
        said = msgspec.json.decode(record.value or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = {}
    value = said.get("value")
    return Entry(
        offset=record.offset,
        at_ms=record.at_ms,
        key=key,
        value=value if isinstance(value, dict) else None,
        by=_text(said.get("by")),
        note=_text(said.get("note")),
        refused=refused,
    )


def _text(said: object) -> str | None:
    return said if isinstance(said, str) else None


def effective(settings: Settings, key: str) -> RawValue:
    """What holds under a key with all that is inherited, in the shape of the setting.

    Raises
    ------
    BadSetting
        There is no such key.
    """
    settings.fold(key.encode(), b"", settings.offset)
    kind, _, of = key.partition("/")
    if kind == "weights":
        return settings.weights_of(of).as_dict()
    if kind == "gates":
        return {name: _plain(gate) for name, gate in settings.gates_of(of).items()}
    if kind == "rules":
        return {name: _plain(rule) for name, rule in settings.rules.get(of, {}).items()}
    spec = settings.feed_of(of)
    return {} if spec is None else _plain(spec)


def _plain(record: object) -> RawValue:
    plain: RawValue = msgspec.to_builtins(record)
    return plain


def record_value(value: RawValue | None, said: Mapping[str, object]) -> bytes | None:
    """The bytes of a record of `config`; None, which removes the setting, for no value."""
    if value is None:
        return None
    return msgspec.json.encode({"value": value, **{k: v for k, v in said.items() if v is not None}})


# --- the command line's way to write a value ---------------------------------------------


def new_value(log: ConfigLog, key: str, words: tuple[str, ...]) -> RawValue | None:
    """The setting that `set KEY VALUE…` asks for: JSON as it is, pairs over what holds now.

    Of rules, `<rule>=null` takes one away.

    Raises
    ------
    UsageError
        The words are neither JSON nor ``name=value`` pairs.
    """
    kind = key.partition("/")[0]
    if len(words) == 1 and (words[0].lstrip()[:1] in ("{", "[", '"') or words[0] == "null"):
        return _whole(words[0], kind)
    pairs = [_pair(word, kind) for word in words]
    start = log.raw(key)
    if start is None and kind == "weights":
        start = log.raw("weights") or _FIRST_WEIGHTS
    value: RawValue = copy.deepcopy(start or {})
    for path, given in pairs:
        if kind == "rules" and len(path) == 1 and given is None:
            value.pop(path[0], None)
        else:
            _put(value, path, given)
    return value


def _whole(text: str, kind: str) -> RawValue | None:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"the value is not JSON: {error}") from None
    if kind != "weights" or not isinstance(value, dict):
        return value  # type: ignore[no-any-return]  # what is no object, the fold refuses
    if isinstance(value.get("scale"), dict):
        value["scale"] = _renamed(value["scale"])
    return _renamed(value)


def _renamed(value: RawValue) -> RawValue:
    renamed = {OBJECTIVE_ALIASES.get(name, name): given for name, given in value.items()}
    if len(renamed) < len(value):
        raise UsageError("alpha is quality and beta is engagement; say each once")
    return renamed


def _pair(word: str, kind: str) -> tuple[list[str], Any]:
    name, equals, text = word.partition("=")
    path = _rule_path(name) if kind == "rules" else name.split(".")
    if not equals or not all(path):
        raise UsageError(f"expected JSON or name=value pairs, such as alpha=0.2, got {word!r}")
    if kind == "weights":
        path = [OBJECTIVE_ALIASES.get(part, part) for part in path]
    try:
        return path, msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return path, text


def _rule_path(name: str) -> list[str]:
    """A rule's name may have dots itself; its fields have none."""
    rule, _, field = name.rpartition(".")
    return [rule, field] if field in Rule.__struct_fields__ else [name]


def _put(value: RawValue, path: list[str], given: object) -> None:
    for part in path[:-1]:
        inner = value.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UsageError(f"`{part}` holds a value, not fields; cannot set {'.'.join(path)}")
        value = inner
    value[path[-1]] = given
