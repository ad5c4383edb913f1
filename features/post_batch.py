"""Posts with their features: the same code for training, evaluation and the live stages."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Post
from feedmill.features.hosts import linked_hosts, path_words
from feedmill.features.minhash import SignatureBatch, minhash, sketches_of
from feedmill.features.text.interleaved_weights import InterleavedWeights
from feedmill.features.text.ngrams import TextBatch

T = TypeVar("T")

FeatureMatrix = npt.NDArray[np.float32]


class PostBatch:
    """Some posts and their features, each computed at most once for all models that read it.

    Features are computed on first use, and kept.  A row depends on its post alone.  Not safe for
    more than one thread at a time.

    Attributes
    ----------
    interleaved
        The weights of the models that read the texts, where many do; set before the first use.
    """

    def __init__(self, posts: Sequence[Post]) -> None:
        self.posts = posts
        self.interleaved: InterleavedWeights | None = None
        self._computed: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self.posts)

    @cached_property
    def text(self) -> TextBatch:
        """The texts with their hashed n-grams."""
        return TextBatch([post.text for post in self.posts], self.interleaved)

    @cached_property
    def characters(self) -> npt.NDArray[np.int64]:
        """How long each text is: (posts,)."""
        return np.array([len(post.text) for post in self.posts], dtype=np.int64)

    @cached_property
    def signatures(self) -> SignatureBatch:
        """The MinHash signatures of the texts."""
        return minhash(self.text.five_grams)

    @cached_property
    def sketches(self) -> list[int]:
        """The sketch of each text, as int64; 0 where there is hardly any 5-gram."""
        found: list[int] = sketches_of(self.signatures.signatures).tolist()
        return found

    @cached_property
    def paths(self) -> TextBatch:
        """The words of the links' paths, with their hashed n-grams; "" where there are none."""
        return TextBatch([path_words(post) if post.links else "" for post in self.posts])

    @cached_property
    def link_hosts(self) -> list[tuple[str, ...]]:
        """The hosts of each post's links, platforms left out."""
        return [linked_hosts(post) if post.links else () for post in self.posts]

    @cached_property
    def hosts(self) -> TextBatch:
        """The hosts of the links, with their hashed n-grams."""
        return TextBatch([" ".join(hosts) for hosts in self.link_hosts])

    def view(self, name: str) -> TextBatch:
        """Return the texts that an n-gram model reads: ``text``, ``paths`` or ``hosts``."""
        if name == "paths":
            return self.paths
        return self.hosts if name == "hosts" else self.text

    def has_content(self, name: str) -> npt.NDArray[np.bool_]:
        """Return which posts have something in a view: (posts,) bool; every post has a text."""
        if name == "text":
            return np.ones(len(self), dtype=np.bool_)
        return np.array([bool(text) for text in self.view(name).texts], dtype=np.bool_)

    def computed(self, compute: Callable[[PostBatch], T]) -> T:
        """Return what a pure function makes of the batch, called once for all readers."""
        if compute not in self._computed:
            self._computed[compute] = compute(self)
        return cast(T, self._computed[compute])


@dataclass(frozen=True, slots=True)
class FeatureGroup:
    """Feature columns that are computed together.

    Declared in the file of the feature and listed in `features/registry.py`.

    Attributes
    ----------
    name
        What a model calls the group when it says which features it reads.
    columns
        The names of the columns, in order.  A model's artifact holds them, so that a renamed
        column needs a retrained model.  No two groups share a column name.
    compute
        Returns the matrix of a batch: (posts, columns), float32, finite.  A row depends on its
        post alone, whatever else is in the batch.
    """

    name: str
    columns: tuple[str, ...]
    compute: Callable[[PostBatch], FeatureMatrix]
