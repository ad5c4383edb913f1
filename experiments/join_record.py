"""What an export knows of an experiment beside its users: the setting, gaps, dose and changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from feedmill.events.errors import UsageError
from feedmill.events.experiment import decode_experiment
from feedmill.events.settings import SettingRecord
from feedmill.events.signal import SignalNames
from feedmill.experiments.checks import ExperimentRecord, Gap
from feedmill.experiments.join import ExperimentRun, JoinedUsers
from feedmill.experiments.parts import ExportFolder, KeptSetting, LostRecords

_record = msgspec.json.Decoder(SettingRecord)


def run_of(export: ExportFolder, name: str, names: SignalNames) -> ExperimentRun:
    """Return an experiment as the settings of an export have it.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    key = f"experiments/{name}"
    records = [one for one in _settings(export) if (one.topic, one.key) == ("config", key)]
    if not records:
        known = {
            one.key.partition("/")[2]
            for one in _settings(export)
            if one.topic == "config" and one.key.startswith("experiments/")
        }
        raise UsageError(
            f"{export.path} has no experiment {name!r}; it has {', '.join(sorted(known)) or 'none'}"
        )
    values = [_record.decode(one.value or "").value for one in records]
    setting = decode_experiment(values[-1], names)
    stopped_ms = records[-1].at_ms if setting.stopped else None
    return ExperimentRun(name, setting, records[0].at_ms, stopped_ms)


def record_of(export: ExportFolder, run: ExperimentRun, joined: JoinedUsers) -> ExperimentRecord:
    """Return the record that `feedmill experiments analyse` reads."""
    measured: dict[str, list[float]] = {}
    for part in export.parts:
        for one in part.overlaps:
            if one.experiment == run.name:
                measured.setdefault(one.arm, []).append(one.overlap)
    return ExperimentRecord(
        gaps=tuple(_gaps(export, run)),
        overlap={arm: sum(found) / len(found) for arm, found in sorted(measured.items())},
        changes=(*_changes(export, run), *_other_lists(joined)),
    )


def _settings(export: ExportFolder) -> Iterator[KeptSetting]:
    return (one for part in export.parts for one in part.settings)


def _gaps(export: ExportFolder, run: ExperimentRun) -> Iterator[Gap]:
    through_ms = export.parts[-1].through_ms
    lost: dict[tuple[str, int, int], LostRecords] = {}
    for one in (one for part in export.parts for one in part.lost):
        at = one.topic, one.partition, one.first
        if at not in lost or one.to_ms < lost[at].to_ms:
            lost[at] = one
    for one in lost.values():
        to_ms = min(one.to_ms, max(through_ms, one.from_ms))
        if to_ms >= run.started_ms:
            what = f"{one.topic}[{one.partition}], offsets {one.first} to {one.end - 1}"
            yield Gap(one.from_ms, to_ms, f"{what} were gone before they were read")
    summed = [part for part in export.parts if part.is_summed and part.newest_ms >= run.started_ms]
    if summed:
        yield Gap(
            run.started_ms, summed[-1].newest_ms, "older than --keep-days, only sums are left"
        )


def _changes(export: ExportFolder, run: ExperimentRun) -> Iterator[str]:
    """Yield what changed after the start that the lists of the feeds rest on."""
    feeds = run.setting.feeds
    keys = {"weights", "gates", f"experiments/{run.name}"}
    keys |= {f"{kind}/{feed}" for kind in ("weights", "gates", "feeds") for feed in feeds}
    for one in _settings(export):
        is_ours = one.key in keys or one.key.startswith("rules/")
        is_released = one.topic == "models" and not one.key.startswith("shadow/")
        if one.at_ms > run.started_ms and (is_ours if one.topic == "config" else is_released):
            at = datetime.fromtimestamp(one.at_ms / 1000, UTC).isoformat(timespec="seconds")
            yield f"{one.topic}: {one.key} changed at offset {one.offset}, {at}"


def _other_lists(joined: JoinedUsers) -> Iterable[str]:
    for arm, share in sorted(joined.other_lists.items()):
        if share:
            yield f"{share:.1%} of the pages of {arm} showed the control's list"
