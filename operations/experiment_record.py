"""What an export knows of an experiment beside its users: the setting, gaps, dose and changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.events.weights import weights_decoder
from feedmill.experiments.checks import ExperimentRecord, FeedWeights, Gap, StartedSetting
from feedmill.experiments.dials import written
from feedmill.experiments.join import JoinedExperiment, JoinedUsers
from feedmill.experiments.parts import ExportFolder
from feedmill.operations.experiment_runs import (
    ExperimentRun,
    changes_during,
    releases_during,
    run_of,
    steps_of,
)
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.settings.config_log import ConfigLog, fold_log


class ExportedSettings:
    """The records of `config` that took effect, and those of `models`, as an export has them."""

    def __init__(self, export: ExportFolder, names: SignalNames) -> None:
        self._export = export
        self.config: ConfigLog = fold_log(self._records("config"), names)

    def run(self, name: str) -> ExperimentRun:
        """Return the experiment of this name; `UsageError` where there was none."""
        return run_of(self.config, name)

    def changes(self, run: ExperimentRun) -> Iterator[str]:
        """Yield what changed for the control while an experiment ran."""
        yield from map(str, changes_during(self.config, run))
        yield from map(str, releases_during(self._records("models"), run))

    def weights(self, run: ExperimentRun, shares: Mapping[str, float]) -> dict[str, FeedWeights]:
        """Return the weights of each feed of an experiment, with its part of impressions."""
        arms: dict[str, list[dict[str, Any]]] = {feed: [] for feed in run.experiment.feeds}
        offsets: dict[str, int] = {}
        for entry, _, settings in steps_of(self.config):
            if run.started.offset <= entry.offset <= run.end_offset(self.config):
                for feed, of_feed in arms.items():
                    of_arms = _weights_of(settings, run, feed)
                    if of_arms not in of_feed[-1:]:
                        of_feed.append(of_arms)
                    offsets[feed] = settings.offsets.get(f"weights/{feed}", -1)
        return {
            feed: FeedWeights(offsets[feed], len(seen) > 1, seen[-1], shares.get(feed))
            for feed, seen in arms.items()
        }

    def _records(self, topic: str) -> Iterator[TopicRecord]:
        for part in self._export.parts:
            for one in part.settings:
                if one.topic == topic:
                    value = None if one.value is None else one.value.encode()
                    yield TopicRecord(one.offset, one.at_ms, one.key.encode(), value)


def _weights_of(settings: Settings, run: ExperimentRun, feed: str) -> dict[str, Any]:
    """Return the effective weights of each arm in a feed, as whole settings."""
    own, names = settings.weights_of(feed), settings.names
    decoder = weights_decoder(names)
    arms = {arm.name: decoder.patched(own, arm.weights) for arm in run.experiment.arms}
    return {arm: written(weights, names) for arm, weights in arms.items()}


def to_join(run: ExperimentRun) -> JoinedExperiment:
    """Return what the join needs to know of an experiment."""
    stopped_ms = None if run.stopped is None else run.stopped.at_ms
    return JoinedExperiment(run.name, run.experiment, run.started.at_ms, stopped_ms)


def record_of(
    export: ExportFolder, settings: ExportedSettings, run: ExperimentRun, joined: JoinedUsers
) -> ExperimentRecord:
    """Return the record that `feedmill experiments analyse` reads."""
    setting = run.experiment
    measured: dict[str, list[float]] = {}
    for one in (one for part in export.parts for one in part.overlaps):
        if one.experiment == run.name:
            measured.setdefault(one.arm, []).append(one.overlap)
    return ExperimentRecord(
        gaps=tuple(_gaps(export, run.started.at_ms)),
        overlap={arm: sum(found) / len(found) for arm, found in sorted(measured.items())},
        changes=(*settings.changes(run), *_other_lists(joined)),
        started_ms=run.started.at_ms,
        early=joined.early,
        late=joined.late,
        setting=StartedSetting(run.entries[-1].offset, setting.primary, setting.planned_n),
        export=str(export.path.resolve()),
        read={} if export.last is None else export.last.offsets,
        weights=settings.weights(run, joined.feed_shares),
    )


def _gaps(export: ExportFolder, started_ms: int) -> Iterator[Gap]:
    for one in (one for part in export.parts for one in part.lost):
        if one.to_ms >= started_ms:
            what = f"{one.topic}[{one.partition}], offsets {one.first} to {one.end - 1}"
            yield Gap(one.from_ms, one.to_ms, f"{what} were gone before they were read")
    summed = [part.newest_ms for part in export.parts if part.is_summed]
    if summed and summed[-1] >= started_ms:
        yield Gap(started_ms, summed[-1], "engagements are older than --keep-days")


def _other_lists(joined: JoinedUsers) -> Iterable[str]:
    for arm, share in sorted(joined.other_lists.items()):
        if share:
            yield f"{share:.1%} of the pages of {arm} showed the control's list"
