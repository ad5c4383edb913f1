"""Posts as the writer's thread writes them, drawn: ids of 20 bytes, five signals each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner import SignalsChange
from feedmill.rankers.combiner.signal_columns import StoredSignal
from feedmill.rankers.combiner.signal_hash import (
    POST_FIELD,
    PostVersion,
    encode_post,
    fields_of_signal,
    short_version,
)

VERSION = "56e6e21cd4ce"  # as long as those of shipped models
DAY_MS = 86_400_000


def post_ids(posts: int) -> list[str]:
    """Distinct ids of 20 bytes."""
    return [f"post-{i:015d}" for i in range(posts)]


def whole_posts(ids: Sequence[str], now_ms: int, seed: int = 7) -> Iterator[SignalsChange]:
    """What to write of each post, whole; one in twenty is hidden, one author has three."""
    rng = np.random.default_rng(seed)
    names = SignalNames().all
    for i, post_id in enumerate(ids):
        offset = 10_000_000 + i
        created_ms = now_ms - int(rng.integers(0, DAY_MS))
        arrived_ms = created_ms + int(rng.integers(1, 500))
        fields = {
            POST_FIELD: encode_post(PostVersion(offset, created_ms, arrived_ms)),
            "author_id": f"author-{i // 3:013d}",
        }
        if i % 20 == 0:
            fields |= {"decision": "hide", "decided_by": f"spam@{short_version(VERSION)}"}
        for name, value in zip(names, rng.random(len(names), np.float32), strict=True):
            # Engagement is judged long after the post was created, the others at once.
            waited_ms = int(rng.integers(1, DAY_MS if name == "engagement" else 1_000))
            signal = StoredSignal(float(value), name, VERSION, offset, arrived_ms + waited_ms)
            fields |= fields_of_signal(name, signal, offset, arrived_ms)
        written = {name: text for name, text in fields.items() if text}
        yield SignalsChange(post_id, now_ms + DAY_MS, True, written, offset)
