"""The signals beside `engagement` that its step writes: while some feed weighs them, and no longer.

A value follows from a post's counts alone, and is rounded: a record is written only where another
value is, or where a post with counts was told of anew.
"""

from __future__ import annotations

from collections.abc import Iterator

from feedmill.events.settings import Settings
from feedmill.events.signal import FURTHER_SIGNALS, Signal
from feedmill.rankers.reaction_rates import rate_steps, rate_value
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

    @property
    def version(self) -> str:
        """Under what the values of all posts are: the model, and the signals that are weighed."""
        return " ".join((self._version, *self.names))

    def take_model(self, version: str) -> None:
        """Go on with a version of the model, which stands in the signals."""
        self._version = version

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
        """Yield each signal of a post whose value is another one than before; None: all of them.

        None of a post that never had counts: without a record it has `BASES`.
        """
        if not any(state.counters.counts):
            return
        for name in self.names:
            steps = rate_steps(name, state.kept_counters)
            if before is None or steps != rate_steps(name, before.kept_counters):
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
