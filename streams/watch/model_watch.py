"""Watches each model, from records of `signals.*`, `posts` and `engagements`; see `WatchProcess`.

| quantity | of each | value |
|---|---|---|
| `score` | signal, by version | the model's own, without rules |
| `fallback` | signal | 1 where the model failed |
| `unknown` | post, by version of a filter | share of its n-grams that have no weight |
| `missing` | post | share of its optional fields that are missing |
| `reactions` | impression or reaction | 1 for a reaction |
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import sqrt
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.decode import decode_engagement, decode_post, decode_signal
from feedmill.events.engagement import Engagement
from feedmill.events.errors import BadEvent, FeedmillError, UsageError
from feedmill.events.instance import REASON_CHARACTERS, Instance, ModelDrift
from feedmill.events.post import Post
from feedmill.events.signal import RULE_MODEL, ModelVerdict, Signal, SignalNames
from feedmill.features.text.ngrams import TextBatch
from feedmill.filters.registry import FILTERS
from feedmill.models.daily_profile import (
    BINS,
    HOURS,
    Counts,
    DailyProfile,
    bins_of,
    stability_index,
)
from feedmill.models.store import find_card
from feedmill.models.store_files import write_whole
from feedmill.models.text_model import NgramModel
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.batches import Record, RecordBatch, TopicPartition
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.log_consumer import END, LogConsumer
from feedmill.streams.kafka.topic_table import HOUR_MS
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.observe.status import StatusServer
from feedmill.streams.releases.loading import MODELS, load_model, shipped_store
from feedmill.streams.settings.clock import LogTime
from feedmill.streams.settings.config_log import SettingsLog
from feedmill.streams.worker.heap import resident_mib

T = TypeVar("T")
Flags = npt.NDArray[np.int32]

_SHARES = ("fallback", "reactions")
_OPTIONAL = ("lang", "links", "media", "communities")
_REACTIONS = frozenset(("click", "like", "reply", "share"))
# Of the engagement model only the prior of a new post: later values come again and again.
_ONCE = "engagement"
# After so many hours without a value a quantity is forgotten: its version is gone.
_KEEP_HOURS = 8 * 24
Kind = Literal["score", "share"]
State = Literal["learning", "stable", "drift"]
# How many values an hour of the day needs for a comparison, and an hour for its index.
LEAST_VALUES = 1000
# The usual limit for "the population has changed"; a thousand values each side exclude chance.
LEAST_INDEX = 0.25
# The probability that a value is above one of earlier days is beyond 0.6 or below 0.4.
LEAST_SHIFT = 0.1
# A share has risen or fallen by this factor.
LEAST_FACTOR = 1.3
# An alarm ends once all is within half of the limits, so that it does not flicker.
_END = 0.5
# How many values are ranked before the state is checked.
SLICE = 100
_LEAST_WIDTH = 100
# A check raises an alarm by chance with a probability of e^-18: a million checks raise none.
_CERTAINTY = 18.0
log = logging.getLogger(__name__)
STAGE = "watch"
_MOST_RECORDS = 2000
_WAIT_S = 0.2
_REPORT_EVERY_S = 1.0
_SAVE_EVERY_S = 60.0


class Quantity(NamedTuple):
    """What is watched of a model, or of `posts`; `version` is "" where it does not matter."""

    model: str
    version: str
    name: str


class SavedQuantity(msgspec.Struct, frozen=True):
    """A quantity and its past, as the file of the watch keeps them."""

    model: str
    version: str
    name: str
    watch: SavedWatch


class ModelWatch:
    """Takes records in order; one thread uses it.

    `load` returns the n-gram model of a filter's text by name and version, None without one.
    """

    def __init__(
        self,
        names: SignalNames,
        load: Callable[[str, str], NgramModel | None],
        saved: Iterable[SavedQuantity] = (),
    ) -> None:
        self._names = names
        self._load = load
        # By filter its last version, and the n-grams without a weight in it.
        self._unknown: dict[str, tuple[str, Flags | None]] = {}
        self.watches: dict[Quantity, ValueWatch] = {}
        for kept in saved:
            quantity = Quantity(kept.model, kept.version, kept.name)
            self._watch(quantity, kept.watch)

    def take(self, batch: RecordBatch) -> None:
        """Take the records of a partition; bad records are left to the stages."""
        topic, at_ms = batch.source.topic, batch.records[-1].timestamp
        if topic == "posts":
            self._take_posts(list(_decoded(batch.records, decode_post, Post)), at_ms)
        elif topic == "engagements":
            kinds = [event.kind for event in _decoded(batch.records, decode_engagement, Engagement)]
            reactions = [float(kind in _REACTIONS) for kind in kinds if _counts(kind)]
            self._update(Quantity("engagement", "", "reactions"), reactions, at_ms)
        elif topic.startswith("signals."):
            self._take_signals(topic.removeprefix("signals."), batch.records, at_ms)

    def current(self) -> dict[Quantity, ValueWatch]:
        """Return the quantities with values in this hour or the last, so of no replaced version."""
        since = self._newest_hour() - 1
        return {quantity: watch for quantity, watch in self.watches.items() if watch.hour >= since}

    def reports(self) -> Iterator[ModelDrift]:
        """Yield the state of every quantity that is current."""
        for quantity, watch in sorted(self.current().items()):
            yield ModelDrift(
                quantity.model,
                quantity.version,
                quantity.name,
                watch.state,
                watch.values,
                None if watch.index is None else round(watch.index, 4),
                round(watch.shift, 4),
                watch.reason(),
            )

    def saved(self) -> list[SavedQuantity]:
        """Return what outlives the process; forget versions without a value for eight days."""
        newest = self._newest_hour()
        for quantity, watch in list(self.watches.items()):
            if watch.hour < newest - _KEEP_HOURS:
                del self.watches[quantity]
        return [SavedQuantity(*quantity, watch.saved()) for quantity, watch in self.watches.items()]

    def _newest_hour(self) -> int:
        return max((watch.hour for watch in self.watches.values()), default=0)

    def _take_signals(self, name: str, records: Iterable[Record], at_ms: int) -> None:
        def decode(key: bytes | None, value: bytes | None) -> Signal | None:
            return decode_signal(name, self._names, key, value) if value else None

        signals = list(_decoded(records, decode, Signal))
        if name == _ONCE:
            signals = [signal for signal in signals if signal.revision == 0]
        verdicts = [verdict for verdict in map(_of_model, signals) if verdict is not None]
        failed = [float(verdict.value is None) for verdict in verdicts]
        self._update(Quantity(name, "", "fallback"), failed, at_ms)
        by_version: dict[str, list[float]] = {}
        for verdict in verdicts:
            if verdict.value is not None:
                by_version.setdefault(verdict.version, []).append(min(1.0, max(0.0, verdict.value)))
        for version, values in by_version.items():
            self._update(Quantity(name, version, "score"), values, at_ms)
            if self._unknown.get(name, ("",))[0] != version:
                model = self._load(name, version)
                self._unknown[name] = version, None if model is None else without_weight(model)

    def _take_posts(self, posts: list[Post], at_ms: int) -> None:
        missing = [sum(not getattr(post, name) for name in _OPTIONAL) for post in posts]
        shares = [count / len(_OPTIONAL) for count in missing]
        self._update(Quantity("posts", "", "missing"), shares, at_ms)
        texts = TextBatch([post.text for post in posts])
        for name, (version, flags) in self._unknown.items():
            if flags is not None and posts:
                unknown = unknown_shares(flags, texts)
                self._update(Quantity(name, version, "unknown"), unknown, at_ms)

    def _update(self, quantity: Quantity, values: list[float], at_ms: int) -> None:
        if values:
            self._watch(quantity).update_many(values, at_ms)

    def _watch(self, quantity: Quantity, saved: SavedWatch | None = None) -> ValueWatch:
        if quantity not in self.watches:
            kind: Kind = "share" if quantity.name in _SHARES else "score"
            self.watches[quantity] = ValueWatch(kind, saved)
        return self.watches[quantity]


def without_weight(model: NgramModel) -> Flags:
    """Return 1 for each n-gram or word that has no weight in a model, else 0: (BUCKETS,)."""
    flags: Flags = (model.weights == 0).astype(np.int32)
    return flags


def unknown_shares(flags: Flags, texts: TextBatch) -> list[float]:
    """Return the share of flagged n-grams and words of each text."""
    shares: list[float] = (texts.weighted_sums(flags) / texts.token_counts()).tolist()
    return shares


def _counts(kind: str) -> bool:
    return kind == "impression" or kind in _REACTIONS


def _of_model(signal: Signal) -> Signal | ModelVerdict | None:
    """Return the model's verdict; None if a rule decided and overruled no verdict."""
    return signal.overruled if signal.model == RULE_MODEL else signal


def _decoded(
    records: Iterable[Record], decode: Callable[..., object], kind: type[T]
) -> Iterator[T]:
    for record in records:
        try:
            event = decode(record.key, record.value)
        except BadEvent:
            continue
        if isinstance(event, kind):
            yield event


try:
    from river.drift import ADWIN
except ImportError as error:
    raise UsageError(
        "`feedmill models watch` needs river; install it: pip install 'feedmill[watch]'"
    ) from error


class ShiftDetector:
    """Detects whether the mean of mid-ranks has moved from a half: river's ADWIN, and two limits.

    It takes the ranks of one stream in order.  ADWIN (Bifet and Gavalda 2007) keeps the longest
    window of the newest values that has one mean, in memory that grows with the logarithm of its
    width.
    """

    def __init__(self) -> None:
        self._window: Any = ADWIN()

    def update_many(self, ranks: Iterable[float]) -> None:
        """Take the next ranks, each in [0, 1]."""
        for rank in ranks:
            self._window.update(rank)

    @property
    def shift(self) -> float:
        """How far the mean of the window is from a half, in [-0.5, 0.5]; 0 before any rank."""
        return float(self._window.estimation) - 0.5 if self._window.width else 0.0

    def is_certain(self, variance: float, reference: float) -> bool:
        """Whether the shift is more than chance, by Bernstein's inequality.

        `variance` is that of the ranks if nothing has changed; the ranks were made from
        `reference` earlier values.
        """
        width = int(self._window.width)
        if width < _LEAST_WIDTH:
            return False
        scale = 1 / width + 1 / reference
        # The second term holds for rare events; a rank is at most a half from its mean.
        limit = sqrt(2 * variance * _CERTAINTY * scale) + _CERTAINTY / 6 * scale
        return abs(self.shift) >= limit


class SavedWatch(msgspec.Struct, frozen=True):
    """What outlives a process: the profile, and the hour that runs (since 1970) with its counts."""

    profile: list[list[float]]
    counts: list[float]
    hour: int


class ValueWatch:
    """Values of one kind; `kind` "share" says that each is 0 or 1.

    Attributes
    ----------
    state
        "learning" while the hour of the day has fewer than `LEAST_VALUES` of earlier days.
    values
        How many came in this hour.
    index
        The population stability index of this hour; None before `LEAST_VALUES` of each side.
    alarms
        How many began.
    """

    def __init__(self, kind: Kind, saved: SavedWatch | None = None) -> None:
        self.kind = kind
        self.state: State = "learning"
        self.index: float | None = None
        self.alarms = 0
        self.hour = -1
        self._profile = DailyProfile()
        self._counts = np.zeros(BINS)
        self._detector = ShiftDetector()
        self._ranks: Counts | None = None
        self._variance = 0.0
        if saved is not None:
            self._profile, self._counts = DailyProfile(saved.profile), np.array(saved.counts)
            if self._counts.shape != (BINS,):
                raise ValueError(f"expected {BINS} counts, got {self._counts.shape}")
            self.hour = saved.hour
            self._begin_hour()

    @property
    def values(self) -> int:
        return int(self._counts.sum())

    @property
    def shift(self) -> float:
        """How far the mean rank among the values of earlier days is from a half."""
        return self._detector.shift

    def update_many(self, values: Sequence[float], at_ms: int) -> None:
        """Take the next values, each in [0, 1], of one time (Unix ms); older times count as now."""
        hour = at_ms // HOUR_MS
        if hour > self.hour:
            if self.hour >= 0:
                self._profile.add_hour(self.hour % HOURS, self._counts)
            self._counts = np.zeros(BINS)
            self.hour = hour
            self._begin_hour()
        for start in range(0, len(values), SLICE):
            bins = bins_of(values[start : start + SLICE])
            self._counts += np.bincount(bins, minlength=BINS)
            if self._ranks is not None:
                self._detector.update_many(self._ranks[bins].tolist())
            self._look()

    def saved(self) -> SavedWatch:
        counts = self._counts.tolist()
        return SavedWatch(self._profile.counts.tolist(), counts, self.hour)

    def reason(self) -> str:
        """Say in words why the state is what it is."""
        before = self._before()
        if self.state == "learning":
            return f"{before:.0f} of {LEAST_VALUES} values of this hour of earlier days"
        if self.state == "stable":
            return ""
        if self.kind == "share":
            return f"the share is {self._share():.3f}, on earlier days {self._share_before():.3f}"
        above = 0.5 + self.shift
        index = "" if self.index is None else f"; stability index {self.index:.2f}"
        return f"above a value of earlier days with a probability of {above:.2f}{index}"

    def _before(self) -> float:
        return self._profile.total(self.hour % HOURS)

    def _begin_hour(self) -> None:
        self.index, known = None, self._before() >= LEAST_VALUES
        self._ranks = None
        if not known:
            self.state = "learning"
            return
        self._ranks = self._profile.mid_ranks(self.hour % HOURS)
        shares = self._profile.counts[self.hour % HOURS] / self._before()
        self._variance = float(shares @ (self._ranks - 0.5) ** 2)
        if self.state == "learning":
            self.state = "stable"

    def _look(self) -> None:
        if self._ranks is None:
            return
        if self.values >= LEAST_VALUES:
            before = self._profile.counts[self.hour % HOURS]
            self.index = stability_index(self._counts, before)
        if self.state == "stable" and self._beyond(1.0):
            self.state = "drift"
            self.alarms += 1
        elif self.state == "drift" and not self._beyond(_END):
            self.state = "stable"

    def _beyond(self, part: float) -> bool:
        """Return whether a limit is passed; while an alarm is on, a part of the limit."""
        is_certain = part < 1 or self._detector.is_certain(self._variance, self._before())
        if is_certain and self._has_moved(part):
            return True
        return self.index is not None and self.index >= LEAST_INDEX * part

    def _has_moved(self, part: float) -> bool:
        if self.kind == "score":
            return abs(self.shift) >= LEAST_SHIFT * part
        # Half an event on each side keeps the factor finite.
        little = 0.5 / self._before()
        factor = (self._share() + little) / (self._share_before() + little)
        return abs(float(np.log(factor))) >= float(np.log(LEAST_FACTOR)) * part

    def _share_before(self) -> float:
        return float(self._profile.counts[self.hour % HOURS][-1]) / self._before()

    def _share(self) -> float:
        # The mean mid-rank moves by half as much as the share.
        return min(1.0, max(0.0, self._share_before() + 2 * self.shift))


class WatchProcess:
    """Follows `posts`, `engagements` and the signals of models from their ends on.

    `state` is the file that keeps the profiles over a restart; None: a restart learns anew.

    Raises `UsageError`: the file is none of ours.
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
