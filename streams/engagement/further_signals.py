"""The signals beside `engagement` that its step writes: while some feed weighs them, and no longer.

A value follows from a post's counts alone, and is rounded: a record is written only where another
value is, or where the post was told of anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from feedmill.events.settings import Settings
from feedmill.events.signal import FURTHER_SIGNALS, Signal
from feedmill.features.counters import Counters
from feedmill.rankers.reaction_rates import ReactionRate, rate_steps, rate_value
from feedmill.streams.engagement.packed_states import PostState

MODEL = "engagement"


class FurtherSignals:
    """Which further signals are weighed, and what they say of posts.

    Attributes
    ----------
    names
        Those that are weighed, in the order of `FURTHER_SIGNALS`.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self._version = ""
        self._rates: Mapping[str, ReactionRate] = {}

    @property
    def version(self) -> str:
        """Under what the values of all posts are: the model, and the signals that are weighed."""
        return " ".join((self._version, *self.names))

    def take_model(self, version: str, rates: Mapping[str, ReactionRate]) -> None:
        """Go on with the rates of a version of the model."""
        self._version, self._rates = version, rates

    def follow(self, settings: Settings) -> None:
        """Find which signals are weighed."""
        self.names = tuple(
            name
            for name in FURTHER_SIGNALS
            if name in settings.weighed and name in settings.names.all
        )

    def changed(
        self, state: PostState, before: PostState | None, at_ms: int
    ) -> Iterator[tuple[str, Signal]]:
        """Yield each signal of a post whose value is another one than before; None: all of them."""
        for name in self.names:
            steps = self._steps(name, state.counters)
            if before is None or steps != self._steps(name, before.counters):
                yield (
                    name,
                    Signal(
                        state.post_id,
                        state.post_offset,
                        rate_value(steps),
                        MODEL,
                        self._version,
                        at_ms,
                        revision=max(state.through, 0),
                    ),
                )

    def _steps(self, name: str, counters: Counters) -> int:
        return rate_steps(name, self._rates[name], counters)
