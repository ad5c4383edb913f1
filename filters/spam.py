"""Spam: unwanted advertising and fraud, whether one post or a campaign of copies."""

from feedmill.filters.model import Evidence, FilterSpec

FILTER = FilterSpec(
    name="spam",
    evidence=Evidence(views=("text",), groups=("cues",)),
    recipe="spam",
    reads_near_copies=True,
)
