"""The signals that ship, by name: each gate is written by the filter in `filters/<name>.py`.

A new built-in filter is its file and a line of `BUILT_IN_GATES`: `filters/registry.py` reads both.
"""

from __future__ import annotations

BUILT_IN_GATES = (
    "spam",
    "nsfw",
    "misinformation",
)
# The stage of engagement writes these beside `engagement`, while some feed weighs them.
_REACTIONS = ("reply", "share", "dwell")
BUILT_IN_OBJECTIVES = ("quality", "engagement", *_REACTIONS)
BUILT_IN_COSTS = ("hide", "report")
FURTHER_SIGNALS = (*_REACTIONS, *BUILT_IN_COSTS)
