"""What the combiner reads: all of `posts`, `signals.*` and `overrides`, into its view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from feedmill.events.decode import decode_key, decode_override, decode_post, decode_signal
from feedmill.events.signal import Signal, SignalNames
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.kafka.batches import RecordBatch
from feedmill.streams.kafka.log_reader import LogReader
from feedmill.streams.kafka.validation import RejectedRecord, validate_batch
from feedmill.streams.settings.environment import Environment

SIGNALS = "signals."
OVERRIDES = "overrides"


def _decode_signal(
    name: str, names: SignalNames, key: bytes | None, value: bytes | None
) -> Signal | str:
    """A signal, or the id of the post that has it no more."""
    return decode_signal(name, names, key, value) if value else decode_key(key)


class CombinerInput:
    """Reads without a group, from the beginning; `read` brings the view up to date."""

    def __init__(self, environment: Environment, view: PostView) -> None:
        names = environment.signals
        self._view = view
        self.reader = LogReader(
            environment, ["posts", OVERRIDES, *(SIGNALS + name for name in names.all)]
        )
        self._decoders: dict[str, Callable[[bytes | None, bytes | None], Any]] = {
            "posts": decode_post,
            OVERRIDES: partial(decode_override, names),
            **{SIGNALS + name: partial(_decode_signal, name, names) for name in names.all},
        }

    async def read(self, timeout_ms: int) -> tuple[list[RecordBatch], list[RejectedRecord]]:
        """Take what is there of all topics into the view; returns it, and what broke a rule."""
        batches = await self.reader.read(timeout_ms)
        rejected: list[RejectedRecord] = []
        for batch in batches:
            rejected += self._take(batch)
        return batches, rejected

    def _take(self, batch: RecordBatch) -> Sequence[RejectedRecord]:
        topic = batch.source.topic
        admitted = validate_batch(batch, self.reader.partitions[topic], self._decoders[topic])
        view = self._view
        if topic == "posts":
            for record, post in admitted.events:
                view.update_post(post, record.offset, record.timestamp)
        elif topic == OVERRIDES:
            for _, (key, override) in admitted.events:
                view.update_override(key, override)
        else:
            name = topic.removeprefix(SIGNALS)
            for _, signal in admitted.events:
                if isinstance(signal, str):
                    view.clear_signal(name, signal)
                else:
                    view.update_signal(name, signal)
        return admitted.rejected
