"""An export of a month of engagements in communities, of which some got other weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from feedmill.events.engagement import Engagement
from feedmill.experiments.export_folder import DAY_MS, ExportFolder, KeptRows, KeptSetting, Part

CHANGED_MS = 1_790_000_000_000
NOTE = "tune half mix.slow"


def write_export(
    folder: Path,
    feeds: Sequence[str],
    changed: Sequence[str],
    *,
    lift: float = 1.0,
    days_after: int = 17,
    note: str = NOTE,
    seen: int = 12,
) -> ExportFolder:
    """Write an export; readers of the changed feeds like so many times more after the change."""
    rng = np.random.default_rng(5)
    rows = KeptRows(b"k" * 16)
    for place, feed in enumerate(feeds):
        for day in range(-15, days_after):
            likes = 0.3 * (lift if feed in changed and day >= 0 else 1.0)
            for number in range(seen):
                at_ms = CHANGED_MS + day * DAY_MS + 1_000 * (number + 1)
                ids = (f"p{place}-{day}-{number}", f"u{rng.integers(10**6)}")
                rows.add_engagement(Engagement(*ids, "impression", at_ms, feed=feed), at_ms)
                if rng.random() < likes:
                    rows.add_engagement(Engagement(*ids, "like", at_ms + 1, feed=feed), at_ms + 1)
    tables = rows.take()
    made = ExportFolder(folder)
    through_ms = CHANGED_MS + days_after * DAY_MS
    value = {"value": {"quality": 0.5, "engagement": 0.5, "half_life_hours": 96}, "note": note}
    settings = [
        KeptSetting(
            "config", number, CHANGED_MS, f"weights/{feed}", msgspec.json.encode(value).decode()
        )
        for number, feed in enumerate(changed)
    ]
    part = Part(
        *(1, 1, {"engagements": {0: 1}}, {"engagements": {0: through_ms}}, through_ms),
        {name: len(table) for name, table in tables.items()},
        settings=tuple(settings),
    )
    made.write(part, tables)
    return made
