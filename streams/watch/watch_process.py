"""`feedmill models watch` as a process: reads what workers read and write, writes heartbeats."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from feedmill.events.errors import FeedmillError, UsageError
from feedmill.events.instance import REASON_CHARACTERS, Instance, ModelDrift
from feedmill.filters.registry import FILTERS
from feedmill.models.store import find_card
from feedmill.models.store_files import write_whole
from feedmill.models.text_model import NgramModel
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import END, LogConsumer
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.observe.status import StatusServer
from feedmill.streams.releases.loading import MODELS, load_model, shipped_store
from feedmill.streams.settings.clock import LogTime
from feedmill.streams.settings.config_log import SettingsLog
from feedmill.streams.watch.model_watch import ModelWatch, SavedQuantity
from feedmill.streams.worker.heap import resident_mib

log = logging.getLogger(__name__)

STAGE = "watch"
_MOST_RECORDS = 2000
_WAIT_S = 0.2
_REPORT_EVERY_S = 1.0
_SAVE_EVERY_S = 60.0


class WatchProcess:
    """Follows `posts`, `engagements` and the signals of models from their ends on.

    `state` is the file that keeps the profiles over a restart; None: a restart learns anew.

    Raises
    ------
    UsageError
        The file is none of ours.
    """

    def __init__(self, environment: Environment, state: Path | None) -> None:
        self.stopping = threading.Event()
        self.port = 0
        self._environment = environment
        self._state = state
        self._models = tuple(name for name in environment.signals.all if name in MODELS)
        self.watch = ModelWatch(environment.signals, self._load, _read_state(state))
        self._metrics = Metrics(STAGE, environment.instance)
        self._web = StatusServer(lambda: self._reason, self._metrics.text)
        self._reason = "starting"
        self._states: dict[tuple[str, str, str], str] = {}
        self._reports: list[ModelDrift] = []
        self._report_at = self._save_at = 0.0

    def run(self) -> None:
        """Follow until `stopping` is set; raises `UsageError` where a topic is missing."""
        connection = Connection(self._environment)
        time_log, settings = LogTime(connection), SettingsLog(connection)
        records = LogConsumer(connection, "watch")
        self._settings, self._time = settings, time_log
        if self._environment.port is not None:
            self._web.start(self._environment.host, self._environment.port)
            self.port = self._web.port
        try:
            count = connection.offsets.partition_count("posts", self.stopping)
            topics = ("posts", "engagements", *(f"signals.{name}" for name in self._models))
            records.add({TopicPartition(topic, p): END for topic in topics for p in range(count)})
            self._save_at = time.monotonic() + _SAVE_EVERY_S
            while not self.stopping.is_set():
                settings.follow()
                time_log.follow(self._instances)
                for batch in records.read(_MOST_RECORDS, _WAIT_S):
                    self.watch.take(batch)
                ready = records.ready_reason() or settings.log.ready_reason()
                self._reason = ready or connection.health.reason()
                self._look()
            self._save()
        finally:
            for part in (records, settings, time_log, connection):
                part.close()
            self._web.stop()

    def _look(self) -> None:
        now = time.monotonic()
        if now >= self._report_at:
            self._report_at = now + _REPORT_EVERY_S
            self._report()
        if now >= self._save_at:
            self._save_at = now + _SAVE_EVERY_S
            self._save()

    def _report(self) -> None:
        self._reports = list(self.watch.reports())
        for report in self._reports:
            at = (report.model, report.version, report.quantity)
            before, self._states[at] = self._states.get(at, "learning"), report.state
            label = f"{report.quantity} of {report.model}" + (
                f"@{report.version}" if report.version else ""
            )
            if report.state == "drift" and before != "drift":
                log.warning("drift: %s: %s", label, report.reason)
                self._time.heartbeats.hurry()
            elif before == "drift" and report.state != "drift":
                log.info("no drift any more: %s", label)
        watches = self.watch.current()
        drifts = {tuple(at): float(report.state == "drift") for at, report in watches.items()}
        self._metrics.replace("feedmill_drift", drifts)
        self._metrics.replace(
            "feedmill_stability_index",
            {tuple(at): report.index for at, report in watches.items() if report.index is not None},
        )
        self._metrics.replace("feedmill_shift", {tuple(at): o.shift for at, o in watches.items()})
        self._metrics.set("feedmill_ready", float(not self._reason))

    def _instances(self) -> Iterator[Instance]:
        yield Instance(
            stage=STAGE,
            instance=self._environment.instance,
            host=socket.gethostname(),
            pid=os.getpid(),
            build=importlib.metadata.version("feedmill"),
            config_offset=self._settings.settings.offset,
            refused=tuple(self._settings.refused),
            models={},
            ready=not self._reason,
            lag=0,
            at_ms=self._time.clock.now_ms(),
            reason=self._reason[:REASON_CHARACTERS],
            memory_mib=resident_mib(),
            drift=tuple(self._reports),
        )

    def _load(self, name: str, version: str) -> NgramModel | None:
        if name not in FILTERS:
            return None
        shipped = shipped_store(name)
        store = self._environment.models or shipped
        try:
            model = load_model(name, store, find_card(store, name, version, shipped).sha256)
        except FeedmillError as error:
            log.warning("the share of unknown n-grams of %s is not watched: %s", name, error)
            return None
        views = FILTERS[name].evidence.views
        ngrams = dict(zip(views, getattr(model, "ngram_models", ()), strict=False))
        return ngrams.get("text")

    def _save(self) -> None:
        if self._state is None:
            return
        try:
            write_whole(self._state, msgspec.json.encode(self.watch.saved()))
        except OSError as error:
            log.error("cannot write %s: %s; a restart would learn anew", self._state, error)


def _read_state(path: Path | None) -> list[SavedQuantity]:
    if path is None or not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[SavedQuantity])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}; name another file, or remove this one") from None
