"""NSFW: sexual or gory content, by its words, its links' hosts and the author's own labels."""

from feedmill.filters.model import Evidence, FilterSpec

FILTER = FilterSpec(
    name="nsfw",
    evidence=Evidence(views=("text", "hosts"), groups=("profanity",)),
    recipe="nsfw",
    # Bluesky's labels of content, and what other products call the same.
    believed_self_labels=frozenset(
        ("porn", "sexual", "nudity", "graphic-media", "nsfw", "adult", "gore", "nsfl")
    ),
)
