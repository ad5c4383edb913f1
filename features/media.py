"""The kind of media that a post has: none, a link, a picture, a video, or another kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Media, Post

MediaKinds = npt.NDArray[np.int8]

MEDIA_KINDS = ("none", "link", "image", "video", "other")
NONE, LINK, IMAGE, VIDEO, OTHER = range(len(MEDIA_KINDS))
# It indexes the last element of an array: models have what a missing value adds there.
UNKNOWN = -1


def media_kind(post: Post) -> int:
    """Return the index of a post's kind in `MEDIA_KINDS`, `UNKNOWN` where nothing says it.

    A video counts before a picture, and both before links.  A post without links and without the
    field `media` says nothing; one whose `media` is empty has none.
    """
    media = post.media
    if media:
        kinds = [_kind_of(item) for item in media]
        return VIDEO if VIDEO in kinds else min(kinds)
    if post.links:
        return LINK
    return UNKNOWN if media is None else NONE


def media_kinds(posts: Sequence[Post]) -> MediaKinds:
    """Return `media_kind` of each post: (posts,) int8."""
    return np.fromiter(map(media_kind, posts), np.int8, len(posts))


def _kind_of(media: Media) -> int:
    """Read `kind`, which is ``image``, ``video`` or a media type such as ``image/png``."""
    name = media.kind.partition("/")[0].lower()
    return {"image": IMAGE, "video": VIDEO}.get(name, OTHER)
