"""What the author and the hour of a post add to its prior, in log, beside the text and the media.

A model learns them from a product's own impressions.  They stand in its artifact, so that a value
follows from the post alone: the stage keeps no table of authors, and a restart restores none.
Authors stand there as hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import BadArtifact
from feedmill.events.post import Post
from feedmill.features.authorship import DAY_HOURS, AuthorKeys, Hours, author_keys, hours_of_day
from feedmill.models.artifact import Arrays, Artifact
from feedmill.models.text_model import read_array

_HOURS, _KEYS, _AUTHORS = "effects_hours", "effects_author_keys", "effects_authors"
_LARGEST_EFFECT = 1e6
_MOST_AUTHORS = 1_000_000


@dataclass(frozen=True, slots=True)
class PostEffects:
    """The effects of hours and authors; what a model does not know adds 0.

    Attributes
    ----------
    hours
        (25,) float64: by hour of the day, UTC, and at the end 0 for an unknown hour.
    keys
        (authors,) int64: the known authors by `author_key`, rising.
    authors
        (authors + 1,) float64: what each adds, and at the end 0 for an unknown author.
    """

    hours: npt.NDArray[np.float64]
    keys: AuthorKeys
    authors: npt.NDArray[np.float64]

    def lift_posts(self, posts: Sequence[Post]) -> npt.NDArray[np.float64]:
        """Return what hour and author add to each post: (posts,) in log."""
        return self.lift(hours_of_day(posts), author_keys(posts))

    def lift(self, hours: Hours, authors: AuthorKeys) -> npt.NDArray[np.float64]:
        """Return the same of (posts,) hours and authors."""
        added: npt.NDArray[np.float64] = self.hours[hours]
        if not len(self.keys):
            return added
        places = np.minimum(np.searchsorted(self.keys, authors), len(self.keys) - 1)
        is_known = self.keys[places] == authors
        return added + np.where(is_known, self.authors[places], self.authors[-1])


def effect_arrays(effects: PostEffects | None) -> Arrays:
    """Return the arrays of an artifact with these effects; none without any."""
    if effects is None:
        return {}
    return {
        _HOURS: effects.hours[:-1],
        _KEYS: effects.keys,
        _AUTHORS: effects.authors[:-1],
    }


def read_effects(artifact: Artifact) -> PostEffects | None:
    """Read the effects of an artifact, None if it has none; raises `BadArtifact`."""
    if _HOURS not in artifact.arrays:
        return None
    hours, keys, authors = (read_array(artifact, key) for key in (_HOURS, _KEYS, _AUTHORS))
    is_usable = (
        hours.shape == (DAY_HOURS,)
        and keys.dtype == np.int64
        and keys.ndim == 1
        and keys.shape == authors.shape
        and len(keys) <= _MOST_AUTHORS
        and bool((np.diff(keys) > 0).all())
        and np.abs(np.concatenate([hours, authors])).max() <= _LARGEST_EFFECT
    )
    if not is_usable:
        raise BadArtifact(
            f"{artifact.label}: expected {DAY_HOURS} effects of hours, and rising keys of authors"
            f" with an effect each, up to {_LARGEST_EFFECT:g}, found the shapes {hours.shape},"
            f" {keys.shape} and {authors.shape}, or others in them; retrain"
        )
    return PostEffects(
        np.append(hours.astype(np.float64), 0.0), keys, np.append(authors.astype(np.float64), 0.0)
    )
