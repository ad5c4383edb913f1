"""Misinformation: claims written the way false ones were; a hint that demotes."""

from feedmill.filters.model import Evidence, FilterSpec

FILTER = FilterSpec(
    name="misinformation",
    evidence=Evidence(views=("text", "paths"), domains=True),
    recipe="misinformation",
)
