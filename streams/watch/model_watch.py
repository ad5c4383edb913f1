"""What is watched of each model, from records of `signals.*`, `posts` and `engagements`.

| quantity | of each | value |
|---|---|---|
| `score` | signal, by version | the model's own, without rules |
| `fallback` | signal | 1 where the model failed |
| `unknown` | post, by version of a filter | share of its n-grams that have no weight |
| `missing` | post | share of its optional fields that are missing |
| `reactions` | impression or reaction | 1 for a reaction |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.decode import decode_engagement, decode_post, decode_signal
from feedmill.events.engagement import Engagement
from feedmill.events.errors import BadEvent
from feedmill.events.instance import ModelDrift
from feedmill.events.post import Post
from feedmill.events.signal import RULE_MODEL, ModelVerdict, Signal, SignalNames
from feedmill.features.text.ngrams import TextBatch
from feedmill.models.text_model import NgramModel
from feedmill.streams.kafka.batches import Record, RecordBatch
from feedmill.streams.watch.value_watch import Kind, SavedWatch, ValueWatch

T = TypeVar("T")
Flags = npt.NDArray[np.int32]

_SHARES = ("fallback", "reactions")
_OPTIONAL = ("lang", "links", "media", "communities")
_REACTIONS = frozenset(("click", "like", "reply", "share"))
# The prior of a new post alone: what its counters make of it would come again and again.
_ONCE = "engagement"
# So many hours without a value, and a quantity is forgotten: its version is gone.
_KEEP_HOURS = 8 * 24


class Quantity(NamedTuple):
    """What is watched: of a model, or of `posts`; `version` is "" where it does not matter."""

    model: str
    version: str
    name: str


class SavedQuantity(msgspec.Struct, frozen=True):
    """A quantity and its past, as a file keeps them."""

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
        # By filter its last version, and which n-grams have no weight in it.
        self._unknown: dict[str, tuple[str, Flags | None]] = {}
        self.watches: dict[Quantity, ValueWatch] = {}
        for one in saved:
            quantity = Quantity(one.model, one.version, one.name)
            self._watch(quantity, one.watch)

    def take(self, batch: RecordBatch) -> None:
        """Take the records of a partition; what cannot be decoded is a stage's business."""
        topic, at_ms = batch.source.topic, batch.records[-1].timestamp
        if topic == "posts":
            self._take_posts(list(_decoded(batch.records, decode_post, Post)), at_ms)
        elif topic == "engagements":
            kinds = [one.kind for one in _decoded(batch.records, decode_engagement, Engagement)]
            reactions = [float(kind in _REACTIONS) for kind in kinds if _counts(kind)]
            self._update(Quantity("engagement", "", "reactions"), reactions, at_ms)
        elif topic.startswith("signals."):
            self._take_signals(topic.removeprefix("signals."), batch.records, at_ms)

    def current(self) -> dict[Quantity, ValueWatch]:
        """Return what had values in this hour or the last; a replaced version has none."""
        since = self._newest_hour() - 1
        return {quantity: one for quantity, one in self.watches.items() if one.hour >= since}

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
        """Return what outlives the process; forget versions that had no value for eight days."""
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
            signals = [one for one in signals if one.revision == 0]
        verdicts = [one for one in map(_of_model, signals) if one is not None]
        failed = [float(one.value is None) for one in verdicts]
        self._update(Quantity(name, "", "fallback"), failed, at_ms)
        by_version: dict[str, list[float]] = {}
        for one in verdicts:
            if one.value is not None:
                by_version.setdefault(one.version, []).append(min(1.0, max(0.0, one.value)))
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
    """Return of each text which share of its n-grams and words is flagged."""
    shares: list[float] = (texts.weighted_sums(flags) / texts.token_counts()).tolist()
    return shares


def _counts(kind: str) -> bool:
    return kind == "impression" or kind in _REACTIONS


def _of_model(signal: Signal) -> Signal | ModelVerdict | None:
    """What the model said; None where a rule decided and nothing says what it overruled."""
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
