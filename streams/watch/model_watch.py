"""Watches each model, from records of `signals.*`, `posts` and `engagements`; see `WatchProcess`.

| quantity | of each | value |
|---|---|---|
| `score` | signal, by version | the model's own, without rules |
| `fallback` | signal | 1 where the model failed |
| `unknown` | post, by version of a filter | share of its n-grams that have no weight |
| `missing` | post | share of its optional fields that are missing |
| `share at <threshold>` | post, by version of a filter | 1 where the gate would demote, or hide |
| `reactions` | impression or reaction | 1 for a reaction |
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from feedmill.events.settings import Settings
from feedmill.events.signal import RULE_MODEL, ModelVerdict, Signal, SignalNames
from feedmill.features.text.ngrams import TextBatch
from feedmill.filters.registry import FILTERS
from feedmill.models.artifact import find_card
from feedmill.models.daily_profile import (
    BINS,
    HOURS,
    Counts,
    DailyProfile,
    bins_of,
    mid_ranks,
    stability_index,
)
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
from feedmill.streams.watch.post_parts import PostParts, PostVerdict
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
_KEEP_PART_HOURS = 24
_TAIL = "share at "
# So many values of a part are taken at once, which costs a fraction.
_PART_VALUES = 25
# How many parts are named at most.
_MOST_NAMED = 20
Kind = Literal["score", "share", "tail"]
State = Literal["learning", "stable", "drift"]
# How many values an hour of the day needs for a comparison, and an hour for its index.
LEAST_VALUES = 1000
# The usual limit for "the population has changed"; a thousand values each side exclude chance.
LEAST_INDEX = 0.25
# The probability that a value is above one of earlier days is beyond 0.6 or below 0.4.
LEAST_SHIFT = 0.1
# A share has risen or fallen by this factor; a tail, which may be compared with whole days, by 2.
LEAST_FACTOR: Mapping[Kind, float] = {"share": 1.3, "tail": 2.0}
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
    """What is watched of a model, or of `posts`; `version` is "" where it does not matter.

    `part` is "" of all posts, else `lang:<language>` or `community:<name>`.
    """

    model: str
    version: str
    name: str
    part: str = ""

    @property
    def label(self) -> str:
        return f"{self.name} in {self.part}" if self.part else self.name


class SavedQuantity(msgspec.Struct, frozen=True):
    """A quantity and its past, as the file of the watch keeps them."""

    model: str
    version: str
    name: str
    watch: SavedWatch
    part: str = ""


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
        self._parts = PostParts()
        self._of_parts: defaultdict[Quantity, list[float]] = defaultdict(list)
        self.watches: dict[Quantity, ValueWatch] = {}
        for kept in saved:
            quantity = Quantity(kept.model, kept.version, kept.name, kept.part)
            self._watch(quantity, kept.watch)
            if kept.part:
                self._parts.busy.keep(kept.part)
        self.set_settings(Settings(names))

    def set_settings(self, settings: Settings) -> None:
        """Watch the shares at the thresholds of these gates from now on."""
        self._thresholds = {
            name: sorted({at for at in (gate.demote_at, gate.hide_at) if at is not None})
            for name, gate in settings.gates_of("").items()
            if gate.enabled
        }

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
        """Yield the state of every quantity that is current; of parts only what drifts alone."""
        self._forget()
        current, named = self.current(), 0
        for quantity, watch in sorted(current.items()):
            if quantity.part:
                of_all = current.get(quantity._replace(part=""))
                if watch.state != "drift" or (of_all is not None and of_all.state == "drift"):
                    continue
                named += 1
                if named > _MOST_NAMED:
                    continue
            yield ModelDrift(
                quantity.model,
                quantity.version,
                quantity.label,
                watch.state,
                watch.values,
                None if watch.index is None else round(watch.index, 4),
                round(watch.shift, 4),
                watch.reason(),
            )

    def saved(self) -> list[SavedQuantity]:
        """Return what outlives the process; forget versions without a value for eight days."""
        self._forget()
        return [
            SavedQuantity(*quantity[:3], watch.saved(), quantity.part)
            for quantity, watch in self.watches.items()
        ]

    def _forget(self) -> None:
        newest, busy = self._newest_hour(), self._parts.busy
        for quantity, watch in list(self.watches.items()):
            kept_hours = _KEEP_PART_HOURS if quantity.part else _KEEP_HOURS
            if watch.hour < newest - kept_hours or (quantity.part and quantity.part not in busy):
                del self.watches[quantity]
        for quantity in [q for q in self._of_parts if q.part not in busy]:
            del self._of_parts[quantity]

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
        if name in self._thresholds:
            self._take_verdicts(name, signals, at_ms)
        for version, values in by_version.items():
            self._update(Quantity(name, version, "score"), values, at_ms)
            if self._unknown.get(name, ("",))[0] != version:
                model = self._load(name, version)
                self._unknown[name] = version, None if model is None else without_weight(model)

    def _take_verdicts(self, name: str, signals: Iterable[Signal], at_ms: int) -> None:
        found = []
        for signal in signals:
            verdict = _of_model(signal)
            if verdict is not None and verdict.value is not None:
                value = float(np.float32(verdict.value))
                of_post = PostVerdict(name, verdict.version, value)
                found.append((of_post, self._parts.take_verdict(signal.post_id, of_post)))
        self._count_tails(found, at_ms)

    def _count_tails(self, found: Iterable[tuple[PostVerdict, Sequence[str]]], at_ms: int) -> None:
        """Count verdicts at the thresholds, each in the parts of its post."""
        waiting, is_watched = self._of_parts, self._parts.busy.is_watched
        for verdict, parts in found:
            for at in self._thresholds.get(verdict.name, ()):
                for part in parts:
                    if not part or is_watched(part):
                        quantity = Quantity(verdict.name, verdict.version, f"{_TAIL}{at}", part)
                        waiting[quantity].append(float(verdict.value >= at))
        for quantity, values in [*waiting.items()]:
            if not quantity.part or len(values) >= _PART_VALUES:
                self._update(quantity, waiting.pop(quantity), at_ms)

    def _take_posts(self, posts: list[Post], at_ms: int) -> None:
        self._count_tails(
            [found for post in posts for found in self._parts.take_post(post, at_ms)], at_ms
        )
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
            kind = "tail" if quantity.name.startswith(_TAIL) else kind
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
    """What outlives a process: the profile, and the hour that runs (since 1970) with its counts.

    Of a tail also what came before today, and the first hour.
    """

    profile: list[list[float]]
    counts: list[float]
    hour: int
    days: list[float] = []
    since: int = 0


class ValueWatch:
    """Values of one kind; `kind` "share" says that each is 0 or 1, "tail" that few are 1.

    The reference is the same hour of earlier days.  A tail of which such an hour has too little is
    compared with the whole days before today.

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
        self._days = np.zeros(BINS)
        self._since = -1
        self._reference: Counts = self._days
        self._detector = ShiftDetector()
        self._ranks: Counts | None = None
        self._variance = 0.0
        if saved is not None:
            self._profile, self._counts = DailyProfile(saved.profile), np.array(saved.counts)
            self._days = np.array(saved.days or self._days)
            for counts in (self._counts, self._days):
                if counts.shape != (BINS,):
                    raise ValueError(f"expected {BINS} counts, got {counts.shape}")
            self.hour, self._since = saved.hour, saved.since
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
            else:
                self._since = hour
            today = hour - hour % HOURS
            # Of a part of a day, the time of day would count as a change.
            if self.hour < today and self._since <= today - HOURS:
                self._days = self._profile.counts.sum(axis=0)
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
        counts, days = self._counts.tolist(), self._days.tolist()
        days = days if self.kind == "tail" else []
        return SavedWatch(self._profile.counts.tolist(), counts, self.hour, days, self._since)

    def reason(self) -> str:
        """Say in words why the state is what it is."""
        before = self._before()
        if self.state == "learning":
            of = "earlier days" if self.kind == "tail" else "this hour of earlier days"
            return f"{before:.0f} of {LEAST_VALUES} values of {of}"
        if self.state == "stable":
            return ""
        if self.kind != "score":
            return f"the share is {self._share():.3f}, on earlier days {self._share_before():.3f}"
        above = 0.5 + self.shift
        index = "" if self.index is None else f"; stability index {self.index:.2f}"
        return f"above a value of earlier days with a probability of {above:.2f}{index}"

    def _before(self) -> float:
        return float(self._reference.sum())

    def _begin_hour(self) -> None:
        self._reference = self._profile.counts[self.hour % HOURS]
        if self.kind == "tail" and self._before() < LEAST_VALUES:
            self._reference = self._days
        self.index, known = None, self._before() >= LEAST_VALUES
        self._ranks = None
        if not known:
            self.state = "learning"
            return
        self._ranks = mid_ranks(self._reference)
        shares = self._reference / self._before()
        self._variance = float(shares @ (self._ranks - 0.5) ** 2)
        if self.state == "learning":
            self.state = "stable"

    def _look(self) -> None:
        if self._ranks is None:
            return
        if self.values >= LEAST_VALUES:
            self.index = stability_index(self._counts, self._reference)
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
        return abs(float(np.log(factor))) >= float(np.log(LEAST_FACTOR[self.kind])) * part

    def _share_before(self) -> float:
        return float(self._reference[-1]) / self._before()

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
        self._drifting: frozenset[str] = frozenset()
        self._applied: Settings | None = None
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
                if settings.settings is not self._applied:
                    self._applied = settings.settings
                    self.watch.set_settings(self._applied)
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
        drifting = {_label(one): one for one in self._reports if one.state == "drift"}
        for label in sorted(drifting.keys() - self._drifting):
            log.warning("drift: %s: %s", label, drifting[label].reason)
            self._time.heartbeats.hurry()
        for label in sorted(self._drifting - drifting.keys()):
            log.info("no drift any more: %s", label)
        self._drifting = frozenset(drifting)
        reports: dict[tuple[str, ...], ModelDrift] = {
            (one.model, one.version, one.quantity): one for one in self._reports
        }
        drifts = {at: float(one.state == "drift") for at, one in reports.items()}
        self._metrics.replace("feedmill_drift", drifts)
        indexes = {at: one.index for at, one in reports.items() if one.index is not None}
        self._metrics.replace("feedmill_stability_index", indexes)
        self._metrics.replace("feedmill_shift", {at: one.shift for at, one in reports.items()})
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


def _label(report: ModelDrift) -> str:
    version = f"@{report.version}" if report.version else ""
    return f"{report.quantity} of {report.model}{version}"


def _read_state(path: Path | None) -> list[SavedQuantity]:
    if path is None or not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[SavedQuantity])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}; name another file, or remove this one") from None
