"""What the champion and its challenger said of the same versions of the same posts.

A fold over records: first those of `shadow`, then of `posts`, then of `signals.<name>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.decode import decode_post, decode_signal
from feedmill.events.errors import BadEvent, UsageError
from feedmill.events.newest_signals import NewestSignals
from feedmill.events.post import Deletion, Post
from feedmill.events.signal import RULE_MODEL, ModelVerdict, Signal, SignalNames

Floats = npt.NDArray[np.float32]

GONE = "posts that are gone, or were edited since"
DECIDED = "posts that something else than the model decided"
NO_VALUE = "posts of which the champion has no value"
OTHER_VERSION = "posts that another version of the champion judged"


@dataclass(frozen=True)
class ShadowPairs:
    """The n posts that both scored, in the order of their ids.

    Attributes
    ----------
    model, champion, challenger
        The model, and the two versions.
    posts
        Their present versions; `created_at_ms` is never after their records.
    arrived_ms
        The timestamps of their records, Unix milliseconds: (n,).
    champion_values, challenger_values
        What each says: (n,) float32 in [0, 1].
    signals
        By name, the values of every other signal: (n,) float32, NaN where there is none.
    judged
        By name, whether that value is of the present version of the post: (n,) bool.
    left_out
        How many posts that the challenger scored are not among them, by the reason.
    """

    model: str
    champion: str
    challenger: str
    posts: tuple[Post, ...]
    arrived_ms: npt.NDArray[np.int64]
    champion_values: Floats
    challenger_values: Floats
    signals: Mapping[str, Floats]
    judged: Mapping[str, npt.NDArray[np.bool_]]
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.posts)


class _Version(NamedTuple):
    """The present version of a post: its offset, the timestamp of its record, the post."""

    offset: int
    at_ms: int
    post: Post


class PairsFold:
    """Takes the records of `shadow`, then of `posts`, then of the signals.

    Parameters
    ----------
    model, challenger
        The model, and the version that scored in shadow.
    names
        The signals of the installation.
    """

    def __init__(self, model: str, challenger: str, names: SignalNames) -> None:
        self._model = model
        self._challenger = challenger
        self._names = names
        self._scored: dict[str, Signal] = {}
        self._posts: dict[str, _Version] = {}
        self._signals = {name: NewestSignals(name, names, _whole) for name in names.all}

    def add_shadow(self, key: bytes | None, value: bytes | None) -> None:
        """Take a record of `shadow`; those of other models and versions are passed over."""
        try:
            signal = decode_signal(self._model, self._names, key, value or b"")
        except BadEvent:
            return
        if (signal.model, signal.version) == (self._model, self._challenger):
            self._scored[signal.post_id] = signal

    def add_post(self, key: bytes | None, value: bytes | None, offset: int, at_ms: int) -> None:
        """Take a record of `posts`; posts that the challenger did not score are passed over."""
        if key is None or key.decode("utf-8", "replace") not in self._scored:
            return
        try:
            post = decode_post(key, value)
        except BadEvent:
            return
        if isinstance(post, Deletion):
            self._posts.pop(post.post_id, None)
            return
        post = msgspec.structs.replace(post, created_at_ms=min(post.created_at_ms, at_ms))
        self._posts[post.post_id] = _Version(offset, at_ms, post)

    def add_signal(self, name: str, key: bytes | None, value: bytes | None) -> None:
        """Take a record of `signals.<name>`."""
        if key is None or key.decode("utf-8", "replace") not in self._posts:
            return
        self._signals[name].add(key, value)

    def pairs(self) -> ShadowPairs:
        """Return the posts of which both have a value.

        The champion is the version that judged last.

        Raises
        ------
        UsageError
            That is the challenger: it was released meanwhile.
        """
        left_out: dict[str, int] = {}
        verdicts = {}
        for post_id, scored in sorted(self._scored.items()):
            verdict, reason = self._champion_verdict(post_id, scored)
            if verdict is None:
                left_out[reason] = left_out.get(reason, 0) + 1
            else:
                verdicts[post_id] = verdict
        last = max(verdicts, key=lambda i: (self._judged_ms(i), i), default=None)
        champion = "" if last is None else verdicts[last].version
        if champion == self._challenger:
            raise UsageError(
                f"{champion} is in force: nothing is left to compare; --version names another one"
            )
        ids = [i for i, verdict in verdicts.items() if verdict.version == champion]
        if len(ids) < len(verdicts):
            left_out[OTHER_VERSION] = len(verdicts) - len(ids)
        others = [name for name in self._names.all if name != self._model]
        columns = {name: self._column(name, ids) for name in others}
        return ShadowPairs(
            self._model,
            champion,
            self._challenger,
            tuple(self._posts[i].post for i in ids),
            np.array([self._posts[i].at_ms for i in ids], dtype=np.int64),
            np.array([verdicts[i].value for i in ids], dtype=np.float32),
            np.array([self._scored[i].value for i in ids], dtype=np.float32),
            {name: values for name, (values, _) in columns.items()},
            {name: judged for name, (_, judged) in columns.items()},
            left_out,
        )

    def _champion_verdict(self, post_id: str, scored: Signal) -> tuple[ModelVerdict | None, str]:
        """Return what the champion says of the version that was scored, or why it is left out."""
        version = self._posts.get(post_id)
        if version is None or version.offset != scored.post_offset:
            return None, GONE
        signal = self._signals[self._model].get(post_id)
        if signal is None or signal.post_offset != scored.post_offset:
            return None, NO_VALUE
        verdict = signal.overruled
        if signal.model != RULE_MODEL:
            verdict = ModelVerdict(
                signal.value, signal.model, signal.version, signal.error, signal.reason
            )
        if verdict is None or verdict.reason is not None:
            return None, DECIDED
        return (None, NO_VALUE) if verdict.value is None else (verdict, "")

    def _judged_ms(self, post_id: str) -> int:
        signal = self._signals[self._model].get(post_id)
        return -1 if signal is None else signal.at_ms

    def _column(self, name: str, ids: list[str]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return a signal's values, and whether each is of the present version: (n,) both."""
        found = [self._signals[name].get(i) for i in ids]
        values = [np.nan if s is None or s.value is None else s.value for s in found]
        judged = [
            s is not None and s.post_offset == self._posts[i].offset
            for i, s in zip(ids, found, strict=True)
        ]
        return np.array(values, dtype=np.float32), np.array(judged, dtype=np.bool_)


def _whole(signal: Signal) -> Signal:
    return signal
