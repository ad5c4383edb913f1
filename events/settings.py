"""The settings on the topic `config`: typed, validated whole, folded from the log.

Every stage applies or refuses a record by `SettingsDraft.fold` and by nothing else, so that all of
them have the same settings after the same records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from feedmill.events.built_in import FURTHER_SIGNALS
from feedmill.events.errors import BadEvent, BadSetting
from feedmill.events.experiment import (
    Experiment,
    FeedExperiment,
    Policy,
    check_removal,
    experiment_in,
    next_experiment,
)
from feedmill.events.feeds import BUILT_IN_FEEDS, FeedMatch, FeedSpec, check_feed_name, pattern_of
from feedmill.events.gates import GatePolicy, GatePolicyPatch, gates_struct
from feedmill.events.limits import MAX_SETTING_BYTES, NAME_MEANING, NAME_PATTERN, check_id
from feedmill.events.rates import RATES, Rates, ReactionRate, bases_of, decode_rates
from feedmill.events.reader_bounds import ReaderBounds, decode_reader_bounds
from feedmill.events.reasons import DECODE_ERRORS, reason_of, with_suggestion
from feedmill.events.rules import Rule, decode_rules
from feedmill.events.signal import SignalNames
from feedmill.events.weights import OBJECTIVE_ALIASES, Weights, weights_decoder

KINDS = ("weights", "gates", "feeds", "rules", "experiments", "readers", "rates")
_RESERVED_KINDS = {"rankings": "slates of `rankings` are not published yet"}


class SettingRecord(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The value of a record on `config`; a `value` of null removes the setting."""

    value: dict[str, Any] | None
    by: str | None = None
    note: str | None = None
    if_offset: int | None = None


# Whoever writes a feed removes the lists of so many arms of stopped experiments.
MOST_ENDED_ARMS = 100
_NAME = re.compile(NAME_PATTERN)
_record = msgspec.json.Decoder(SettingRecord)


@dataclass(frozen=True)
class Settings:
    """All settings after the records of `config` up to an offset.  Never changed in place.

    Attributes
    ----------
    names
        The signals of this installation.
    offset
        The last record that was applied or skipped; -1 before the first.
    weights, gates, feeds, rules, experiments, readers, rates
        The settings of each kind by what follows the kind in the key: a feed, a filter for rules,
        the name of an experiment; "" for the general weights and gates, and for rates.  Experiments
        that were stopped are among them.
    offsets
        By whole key, the offset of the record in force.
    change_offsets
        By whole key, the offset of the last record that set or removed the setting.
    """

    names: SignalNames = field(default_factory=SignalNames)
    offset: int = -1
    weights: Mapping[str, Weights] = field(default_factory=dict)
    gates: Mapping[str, Mapping[str, GatePolicyPatch]] = field(default_factory=dict)
    feeds: Mapping[str, FeedSpec] = field(default_factory=dict)
    rules: Mapping[str, Mapping[str, Rule]] = field(default_factory=dict)
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    readers: Mapping[str, ReaderBounds] = field(default_factory=dict)
    rates: Mapping[str, Rates] = field(default_factory=dict)
    offsets: Mapping[str, int] = field(default_factory=dict)
    change_offsets: Mapping[str, int] = field(default_factory=dict)

    def fold(self, key: bytes | None, value: bytes | None, offset: int) -> Settings:
        """Return these settings with one record of `config` applied.

        Raises
        ------
        BadSetting
            The record is refused whole, with the reason; go on with `skip(offset)`.
        """
        draft = SettingsDraft(self)
        draft.fold(key, value, offset)
        return draft.settings()

    def skip(self, offset: int) -> Settings:
        """Return the same settings after the refused record at `offset`."""
        return replace(self, offset=offset)

    def says_as(self, earlier: Settings) -> bool:
        """Whether every record since these earlier settings was skipped."""
        return self.change_offsets is earlier.change_offsets

    def weights_of(self, feed: str) -> Weights:
        """Return the weights of a feed: its own, else the general ones, else the built-in ones."""
        own = self.weights.get(feed) or self.weights.get("") or weights_decoder(self.names).default
        return replace(own, bases=bases_of(self.reaction_rates)) if self.rates else own

    @property
    def reaction_rates(self) -> Rates:
        """The rates with which the further signals of engagement begin."""
        return self.rates.get("", RATES)

    def gates_of(self, feed: str) -> Mapping[str, GatePolicy]:
        """Return the policy of each gate in a feed, of the general policy for "".

        Field by field: the feed's own, else the general one, else the built-in one.
        """
        general, own = self.gates.get("", {}), self.gates.get(feed, {}) if feed else {}
        return {
            name: self.names.default_gate(name).patched(general.get(name)).patched(own.get(name))
            for name in self.names.gates
        }

    @cached_property
    def running(self) -> Mapping[str, FeedExperiment]:
        """By feed the experiment that runs in it."""
        return {
            feed: experiment_in(name, experiment, policy, self.names)
            for name, experiment in self.experiments.items()
            if not experiment.stopped
            for feed in experiment.feeds
            if (policy := self.policy_of(feed)) is not None
        }

    @cached_property
    def ended(self) -> Mapping[str, tuple[str, ...]]:
        """By feed the newest arms of what was stopped in it, as `<experiment>.<arm>`."""
        ended: dict[str, tuple[str, ...]] = {}
        for name, experiment in self.experiments.items():
            arms = [f"{name}.{arm.name}" for arm in experiment.arms[1:]]
            for feed in experiment.feeds if experiment.stopped else ():
                ended[feed] = (*ended.get(feed, ()), *arms)[-MOST_ENDED_ARMS:]
        return ended

    @property
    def arms(self) -> Iterator[tuple[str, Policy]]:
        """Every arm of a running experiment in every feed, as `<experiment>.<arm>`."""
        return (arm for running in self.running.values() for arm in running.arms.items())

    def policy_of(self, feed: str) -> Policy | None:
        """Return the weights and gates of a feed, None where there is no such feed."""
        if self.feed_of(feed) is None:
            return None
        return Policy(self.weights_of(feed), self.gates_of(feed))

    @property
    def weighed(self) -> frozenset[str]:
        """The signals that count in the score of some list, or may count for a reader's user."""
        of_arms = (policy.weights for _, policy in self.arms)
        of_lists = (self.weights_of(""), *self.weights.values(), *of_arms)
        of_users = (name for bounds in self.readers.values() for name in bounds.weighed)
        return frozenset(name for weights in of_lists for name in weights.signals).union(of_users)

    def feed_of(self, feed: str) -> FeedSpec | None:
        """Return what goes into a feed: by its own setting, else by its pattern's.

        None if there is no such feed.
        """
        spec = self.feeds.get(feed) or BUILT_IN_FEEDS.get(feed)
        if spec is None and (pattern := pattern_of(feed)):
            spec = self.feeds.get(pattern) or BUILT_IN_FEEDS[pattern]
        return spec

    @property
    def named_feeds(self) -> tuple[str, ...]:
        """The feeds that exist without a post in them: `global` and every declared name."""
        declared = (name for name in self.feeds if "*" not in name)
        return tuple(dict.fromkeys(("global", *declared)))


class SettingsDraft:
    """Settings to which records are applied one after the other: `Settings` are made once of all.

    So what many records cost does not grow with the settings that there are.
    """

    def __init__(self, settings: Settings) -> None:
        self._names = settings.names
        self._before = settings
        self._offset = settings.offset
        # What was copied, by the attribute of `Settings`.
        self._changed: dict[str, dict[str, Any]] = {}

    def fold(self, key: bytes | None, value: bytes | None, offset: int) -> None:
        """Apply one record of `config`.

        Raises
        ------
        BadSetting
            The record is refused whole, with the reason; go on with `skip(offset)`.
        """
        name = _key_text(key)
        kind, _, target = name.partition("/")
        check_key(name, self._names)
        wanted = self._wanted(name, value) if value else None
        if wanted is None:
            check_removal(kind, target, self.settings().experiments)
        setting = None if wanted is None else self._decode(name, wanted)
        of_kind, offsets = self._own(kind), self._own("offsets")
        if setting is None:
            of_kind.pop(target, None)
            offsets.pop(name, None)
        else:
            of_kind[target] = setting
            offsets[name] = offset
        self._own("change_offsets")[name] = offset
        self._offset = offset

    def skip(self, offset: int) -> None:
        """Go past the refused record at `offset`."""
        self._offset = offset

    def settings(self) -> Settings:
        """Return the settings after all these records; whoever keeps them ends the draft."""
        changed: dict[str, Any] = {**self._changed, "offset": self._offset}
        return replace(self._before, **changed)

    def _own(self, attribute: str) -> dict[str, Any]:
        if attribute not in self._changed:
            self._changed[attribute] = dict(getattr(self._before, attribute))
        return self._changed[attribute]

    def _wanted(self, name: str, value: bytes) -> dict[str, Any] | None:
        """Return what a record wants a setting to be, None to remove it."""
        if len(value) > MAX_SETTING_BYTES:
            raise BadSetting(f"Expected at most {MAX_SETTING_BYTES} bytes, got {len(value)}")
        try:
            record = _record.decode(value)
        except DECODE_ERRORS as error:
            raise BadSetting(reason_of(error)) from None
        offsets: Mapping[str, int] = self._changed.get("offsets", self._before.offsets)
        current = offsets.get(name, -1)
        if record.if_offset is not None and record.if_offset != current:
            raise BadSetting(
                f"`{name}` was changed meanwhile: `if_offset` is {record.if_offset}, but the record"
                f" in force has the offset {current}; read the setting again and retry"
            )
        return record.value

    def _decode(self, name: str, value: dict[str, Any]) -> object:
        kind, _, target = name.partition("/")
        try:
            if kind in (decoders := self._decoders()):
                return decoders[kind](value)
            if kind == "experiments":
                there = self.settings()
                return next_experiment(
                    target, value, there.experiments, there.policy_of, self._names
                )
            if kind == "readers":
                if self.settings().feed_of(target) is None:
                    raise BadSetting(f"Expected a feed that there is, got {target!r}")
                return decode_reader_bounds(value, self._names)
            return _decode_feed(target, value)
        except msgspec.ValidationError as error:
            reason = reason_of(error, "$.value")
            raise BadSetting(with_suggestion(reason, self._fields_of(kind))) from None

    def _decoders(self) -> Mapping[str, Callable[[dict[str, Any]], object]]:
        """Return by kind what decodes settings that depend on no other setting."""
        return {
            "weights": weights_decoder(self._names).decode,
            "gates": self._decode_gates,
            "rules": decode_rules,
            "rates": decode_rates,
        }

    def _fields_of(self, kind: str) -> tuple[str, ...]:
        """Return the names that the fields of a setting may have, those of its parts too."""
        if kind == "weights":
            fields = weights_decoder(self._names).struct.__struct_fields__
            return (*fields, *self._names.costs, *OBJECTIVE_ALIASES)
        if kind == "gates":
            return GatePolicyPatch.__struct_fields__
        if kind == "readers":
            return ReaderBounds.__struct_fields__
        if kind == "rates":
            return (*FURTHER_SIGNALS, *ReactionRate.__struct_fields__)
        return (*FeedSpec.__struct_fields__, *FeedMatch.__struct_fields__)

    def _decode_gates(self, value: dict[str, Any]) -> Mapping[str, GatePolicyPatch]:
        for name in value:
            if name not in self._names.gates:
                known = ", ".join(self._names.gates)
                raise BadSetting(
                    f"Expected a declared gate ({known}), got {name[:80]!r} - at `$.value`;"
                    " FEEDMILL_SIGNALS declares further ones"
                )
        patches = msgspec.convert(value, gates_struct(self._names.gates))
        return {name: getattr(patches, name) for name in value}


def _key_text(key: bytes | None) -> str:
    try:
        return (key or b"").decode()
    except UnicodeDecodeError:
        raise BadSetting("Expected a key in UTF-8, got " + repr(key)[:80]) from None


def check_key(name: str, names: SignalNames) -> None:
    """Raise `BadSetting` unless a setting may have this key."""
    kind, slash, target = name.partition("/")
    if kind in _RESERVED_KINDS:
        raise BadSetting(f"`{name[:80]}`: {_RESERVED_KINDS[kind]}; remove the record")
    if kind not in KINDS:
        raise BadSetting(
            "Expected one of weights, weights/<feed>, gates, gates/<feed>, feeds/<name>,"
            f" rules/<filter>, experiments/<name>, readers/<feed>, rates, got {name[:80]!r}"
        )
    if kind == "rules":
        # A gate without a filter is written from outside: nothing would apply its rules.
        if target not in names.filters:
            filters = ", ".join(names.filters)
            raise BadSetting(f"Expected `rules/<filter>`, one of {filters}, got {name[:80]!r}")
    elif kind == "experiments":
        if not _NAME.match(target):
            raise BadSetting(f"Expected `experiments/<name>`, {NAME_MEANING}, got {name[:80]!r}")
    elif kind == "rates" and slash:
        raise BadSetting(f"Expected `rates`, which are of all feeds, got {name[:80]!r}")
    elif slash:
        check_feed_name(target, pattern_allowed=kind == "feeds")
    elif kind in ("feeds", "readers"):
        raise BadSetting(f"Expected `{kind}/<name>`, got `{kind}`")


def _decode_feed(feed: str, value: dict[str, Any]) -> FeedSpec:
    spec = msgspec.convert(value, FeedSpec)
    if pattern_of(feed) and spec.match.restricts:
        raise BadSetting(f"`feeds/{feed}` matches by its name; leave `match` out or empty")
    if spec.max_feeds is not UNSET and "*" not in feed:
        raise BadSetting(
            f"`feeds/{feed}` is one feed; leave `max_feeds` out, which only a pattern such as"
            " `feeds/community:*` has"
        )
    try:
        for author in spec.match.authors:
            check_id(author, "$.value.match.authors")
    except BadEvent as error:
        raise BadSetting(str(error)) from None
    return spec
