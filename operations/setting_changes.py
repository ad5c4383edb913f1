"""A change of settings before it is written: whether it would be refused, and what it leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from feedmill.events.errors import BadSetting
from feedmill.events.gates import GatePolicy
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
