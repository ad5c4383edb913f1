"""The experiments of an installation by its settings: which run, and what changed meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from feedmill.events.decode import decode_candidate, is_candidate
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.experiment import Experiment
from feedmill.events.settings import Settings
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.releases.release_log import BY_TEXT
from feedmill.streams.settings.config_log import ConfigEntry, ConfigLog

PREFIX = "experiments/"


@dataclass(frozen=True)
class ExperimentRun:
    """An experiment that was started, and may be stopped by now.

    Attributes
    ----------
    experiment
        As it is now.
    entries
        The records that started it, gave it more traffic and stopped it, oldest first.
    """

    name: str
    experiment: Experiment
    entries: tuple[ConfigEntry, ...]

    @property
    def started(self) -> ConfigEntry:
        """The record that started it."""
        return self.entries[0]

    @property
    def stopped(self) -> ConfigEntry | None:
        """The record that stopped it; None while it runs."""
        return self.entries[-1] if self.experiment.stopped else None

    def end_offset(self, log: ConfigLog) -> int:
        """The last record of `config` while it ran."""
        return log.settings.offset if self.stopped is None else self.stopped.offset

    def ran_ms(self, now_ms: int) -> int:
        """For how long it has run, or ran."""
        end_ms = now_ms if self.stopped is None else self.stopped.at_ms
        return max(0, end_ms - self.started.at_ms)

    def as_dict(self, now_ms: int) -> dict[str, object]:
        """Return it as commands print it as JSON."""
        experiment, last = self.experiment, self.entries[-1]
        return {
            "name": self.name,
            "running": self.stopped is None,
            "feeds": list(experiment.feeds),
            "traffic": experiment.traffic,
            "arms": experiment.shares,
            "primary": experiment.primary,
            "planned_n": experiment.planned_n,
            "window_hours": experiment.window_hours,
            "started_ms": self.started.at_ms,
            "stopped_ms": None if self.stopped is None else self.stopped.at_ms,
            "ran_ms": self.ran_ms(now_ms),
            "offset": last.offset,
            "by": self.started.by,
            "note": last.note,
        }


def runs_of(log: ConfigLog) -> list[ExperimentRun]:
    """Return the experiments that were started, the oldest first."""
    entries: dict[str, list[ConfigEntry]] = {}
    for entry in log.entries:
        if entry.applied and entry.key.startswith(PREFIX):
            entries.setdefault(entry.key.removeprefix(PREFIX), []).append(entry)
    return [
        ExperimentRun(name, log.settings.experiments[name], tuple(of_name))
        for name, of_name in entries.items()
    ]


def run_of(log: ConfigLog, name: str) -> ExperimentRun:
    """Return the experiment of this name.

    Raises `UsageError`: there was never one.
    """
    runs = {run.name: run for run in runs_of(log)}
    if name not in runs:
        known = f"expected one of {', '.join(runs)}" if runs else "none was ever started"
        raise UsageError(f"there is no experiment `{name}`: {known}")
    return runs[name]


@dataclass(frozen=True)
class ControlChange:
    """A record that changed what readers of the control see, and in which feeds."""

    topic: str
    key: str
    offset: int
    by: str
    feeds: tuple[str, ...]

    def __str__(self) -> str:
        by = f" by {self.by}" if self.by else ""
        where = f"{self.key} on {self.topic}, offset {self.offset}"
        return f"{where}{by}, in {', '.join(self.feeds)}"


def changes_during(log: ConfigLog, run: ExperimentRun) -> Iterator[ControlChange]:
    """Yield what changed weights, gates, rules or match of the control while it ran.

    Its arms changed with it where they do not differ from it.
    """
    for entry, before, after in steps_of(log):
        if run.started.offset < entry.offset <= run.end_offset(log):
            feeds = _changed(before, after, run.experiment.feeds)
            if feeds:
                yield ControlChange("config", entry.key, entry.offset, entry.by or "", feeds)


def steps_of(log: ConfigLog) -> Iterator[tuple[ConfigEntry, Settings, Settings]]:
    """Yield every record that was applied, with the settings before it and after."""
    before = Settings(log.settings.names)
    for entry in log.entries:
        if entry.applied:
            after = before.fold(entry.key.encode(), entry.record, entry.offset)
            yield entry, before, after
            before = after


def releases_during(models: Iterable[TopicRecord], run: ExperimentRun) -> Iterator[ControlChange]:
    """Yield the releases of models and lists while it ran, of the records of `models`."""
    end_ms = None if run.stopped is None else run.stopped.at_ms
    for record in models:
        is_during = run.started.at_ms <= record.at_ms <= (end_ms or record.at_ms)
        if is_during and not _is_in_shadow(record):
            key = (record.key or b"").decode("utf-8", "replace")
            yield ControlChange("models", key, record.offset, "", run.experiment.feeds)


def _is_in_shadow(record: TopicRecord) -> bool:
    """Return whether a record of `models` begins or ends a version that decides nothing."""
    if not is_candidate(record.key) or not record.value:
        return False
    try:
        candidate = decode_candidate(BY_TEXT, record.key, record.value)[1]
    except BadEvent:
        return True
    return candidate is not None and not candidate.partitions


def _changed(before: Settings, after: Settings, feeds: Sequence[str]) -> tuple[str, ...]:
    def policy(settings: Settings, feed: str) -> object:
        return settings.weights_of(feed), settings.gates_of(feed), settings.feed_of(feed)

    return tuple(
        feed
        for feed in feeds
        if before.rules != after.rules or policy(before, feed) != policy(after, feed)
    )
