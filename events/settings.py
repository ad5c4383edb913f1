"""The settings on the `config` topic: typed, validated whole, folded from the log.

`Settings.fold` is the one piece of code by which every stage applies or refuses
a record, so that all of them come to the same settings from the same log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from feedmill.events.errors import BadEvent, BadSetting
from feedmill.events.feeds import BUILT_IN_FEEDS, FeedSpec, check_feed_name, pattern_of
from feedmill.events.gates import GatePolicy, GatePolicyPatch
from feedmill.events.limits import MAX_SETTING_BYTES, check_id, explain_patterns
from feedmill.events.rules import Rule, read_rules
from feedmill.events.signal import SignalNames
from feedmill.events.weights import Weights, WeightsDecoder

_LATER = {
    "rankings": "slates of `rankings` are not published yet",
    "experiments": "experiments are reserved",
}
_ARM = re.compile(r"@")


class SettingRecord(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The value of a record on `config`."""

    value: dict[str, Any]
    by: str | None = None
    note: str | None = None
    if_offset: int | None = None


_record = msgspec.json.Decoder(SettingRecord)


@dataclass(frozen=True)
class Settings:
    """All settings after the records up to `offset` (-1: none yet).  Never changed in place.

    `offsets` has by key the record that holds, `changed_at` the last one that set or removed it.
    """

    names: SignalNames = field(default_factory=SignalNames)
    offset: int = -1
    weights: Mapping[str, Weights] = field(default_factory=dict)
    gates: Mapping[str, Mapping[str, GatePolicyPatch]] = field(default_factory=dict)
    feeds: Mapping[str, FeedSpec] = field(default_factory=dict)
    rules: Mapping[str, Mapping[str, Rule]] = field(default_factory=dict)
    offsets: Mapping[str, int] = field(default_factory=dict)
    changed_at: Mapping[str, int] = field(default_factory=dict)

    def fold(self, key: bytes | None, value: bytes | None, offset: int) -> Settings:
        """These settings with one record of `config` applied.

        Raises
        ------
        BadSetting
            The record is refused whole, with the reason; go on with `skip(offset)`.
        """
        name = _key_name(key)
        kind, _, of = name.partition("/")
        if kind not in ("weights", "gates", "feeds", "rules"):
            raise BadSetting(_unknown(name))
        _check_key(name, self.names)
        table: dict[str, Any] = dict(getattr(self, kind))
        offsets = {**self.offsets, name: offset}
        if not value:
            table.pop(of, None)
            offsets.pop(name)
        else:
            table[of] = self._read(kind, of, name, value)
        changed_at = {**self.changed_at, name: offset}
        changed: dict[str, Any] = {kind: table, "offset": offset, "offsets": offsets}
        return replace(self, **changed, changed_at=changed_at)

    def skip(self, offset: int) -> Settings:
        """The same settings, with the refused record at `offset` dealt with."""
        return replace(self, offset=offset)

    def _read(self, kind: str, of: str, name: str, value: bytes) -> object:
        if len(value) > MAX_SETTING_BYTES:
            raise BadSetting(f"Expected at most {MAX_SETTING_BYTES} bytes, got {len(value)}")
        try:
            record = _record.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadSetting(f"{error} (of the record)"[:1000]) from None
        current = self.offsets.get(name, -1)
        if record.if_offset is not None and record.if_offset != current:
            raise BadSetting(
                f"`{name}` was changed meanwhile: if_offset says {record.if_offset}, the last"
                f" applied record of it is {current}; read it again and decide anew"
            )
        try:
            if kind == "weights":
                return self._weights_reader.read(record.value)
            if kind == "gates":
                return self._read_gates(record.value)
            if kind == "rules":
                return read_rules(record.value)
            return _read_feed(of, record.value)
        except msgspec.ValidationError as error:
            raise BadSetting(_within_value(str(error))) from None

    def _read_gates(self, value: dict[str, Any]) -> Mapping[str, GatePolicyPatch]:
        for name in value:
            if name not in self.names.gates:
                known = ", ".join(self.names.gates)
                raise BadSetting(f"Expected a declared gate ({known}), got {name[:80]!r}")
        patches = msgspec.convert(value, shape_of_gates(self.names))
        return {name: getattr(patches, name) for name in value}

    @property
    def _weights_reader(self) -> WeightsDecoder:
        return _weights_reader(self.names)

    def weights_of(self, feed: str) -> Weights:
        """The weights of a feed: its own, else the general ones, else the built-in ones."""
        return self.weights.get(feed) or self.weights.get("") or self._weights_reader.default

    def gates_of(self, feed: str) -> Mapping[str, GatePolicy]:
        """The gates of a feed, field by field: its own over the general over the built-in ones."""
        general, own = self.gates.get("", {}), self.gates.get(feed, {}) if feed else {}
        return {
            name: self.names.default_gate(name).patched(general.get(name)).patched(own.get(name))
            for name in self.names.gates
        }

    def feed_of(self, feed: str) -> FeedSpec | None:
        """What goes into a feed: its own setting, else its pattern's, else None (no such feed)."""
        spec = self.feeds.get(feed) or BUILT_IN_FEEDS.get(feed)
        if spec is None and (pattern := pattern_of(feed)):
            spec = self.feeds.get(pattern) or BUILT_IN_FEEDS[pattern]
        return spec

    @property
    def named_feeds(self) -> tuple[str, ...]:
        """Feeds that exist whether or not a post matches: `global` and every declared name."""
        declared = (name for name in self.feeds if "*" not in name)
        return tuple(dict.fromkeys(("global", *declared)))


# Shapes follow from the declared signals alone, and making one takes longer than a fold.
@cache
def _weights_reader(names: SignalNames) -> WeightsDecoder:
    return WeightsDecoder(names)


def shape_of_weights(names: SignalNames) -> type[Struct]:
    """The record that the value of a setting `weights` must fit."""
    return _weights_reader(names).shape


@cache
def shape_of_gates(names: SignalNames) -> type[Struct]:
    """The record that the value of a setting `gates` must fit."""
    fields = [(name, GatePolicyPatch | UnsetType, UNSET) for name in names.gates]
    return msgspec.defstruct("Gates", fields, frozen=True)


def _key_name(key: bytes | None) -> str:
    try:
        return (key or b"").decode()
    except UnicodeDecodeError:
        raise BadSetting("Expected a key in UTF-8, got " + repr(key)[:80]) from None


def _unknown(name: str) -> str:
    kind = name.partition("/")[0]
    if kind in _LATER:
        return f"`{name[:80]}`: {_LATER[kind]}; remove the record"
    return (
        "Expected one of weights, weights/<feed>, gates, gates/<feed>, feeds/<name>,"
        f" rules/<filter>, got {name[:80]!r}"
    )


def _check_key(name: str, names: SignalNames) -> None:
    kind, slash, of = name.partition("/")
    if kind == "rules":
        # A gate without a filter is written from outside: its rules would silently do nothing.
        if of not in names.filters:
            filters = ", ".join(names.filters)
            raise BadSetting(f"Expected `rules/<filter>`, one of {filters}, got {name[:80]!r}")
    elif slash:
        if kind == "weights" and _ARM.search(of):
            raise BadSetting(f"`weights/{of[:80]}`: arms are not read yet; leave `@…` out")
        check_feed_name(of, pattern_allowed=kind == "feeds")
    elif kind == "feeds":
        raise BadSetting("Expected `feeds/<name>`, got `feeds`")


def _within_value(text: str) -> str:
    """Msgspec's text about the value of a record, its path starting at the record."""
    if " - at `$" not in text:
        return explain_patterns(text) + " - at `$.value`"
    return explain_patterns(text).replace(" - at `$", " - at `$.value")


def _read_feed(feed: str, value: dict[str, Any]) -> FeedSpec:
    spec = msgspec.convert(value, FeedSpec)
    if pattern_of(feed) and spec.match.restricts:
        raise BadSetting(f"`feeds/{feed}` matches by its name; leave `match` out or empty")
    if spec.max_feeds is not UNSET and "*" not in feed:
        raise BadSetting(f"`feeds/{feed}` is one feed; `max_feeds` belongs to a pattern")
    try:
        for author in spec.match.authors:
            check_id(author, "$.value.match.authors")
    except BadEvent as error:
        raise BadSetting(str(error)) from None
    return spec
