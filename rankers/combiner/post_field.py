"""The field `post` of `signals:<post_id>`: the version of the post, and its times.

    post          1045 1795541438542 12        post_offset, created_ms, and arrived 12 ms later

One field instead of three: their names took more memory than what they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

POST_FIELD = "post"


class PostVersion(NamedTuple):
    """A version of a post.

    Attributes
    ----------
    offset
        The offset of its record, -1 where nothing is known of the post.
    created_ms, arrived_ms
        The effective creation time and the timestamp of the record, in Unix milliseconds.
    """

    offset: int = -1
    created_ms: int = 0
    arrived_ms: int = 0


_UNKNOWN = PostVersion()


def encode_post(version: PostVersion) -> str:
    """The text of the field."""
    offset, created_ms, arrived_ms = version
    return f"{offset} {created_ms} {arrived_ms - created_ms}"


def encode_posts(
    offsets: npt.NDArray[np.int64],
    created_ms: npt.NDArray[np.int64],
    arrived_ms: npt.NDArray[np.int64],
) -> list[str]:
    """The texts of the field of many posts, each as `encode_post` writes it; all of shape (n,)."""
    after_ms = (arrived_ms - created_ms).tolist()
    columns = zip(offsets.tolist(), created_ms.tolist(), after_ms, strict=True)
    return [f"{offset} {at_ms} {after}" for offset, at_ms, after in columns]


def decode_post(fields: Mapping[str, str]) -> PostVersion:
    """Read the version of a post from its fields; one of offset -1 where the field is missing.

    Raises `ValueError` where the field is not of this form.
    """
    text = fields.get(POST_FIELD)
    if not text:
        return _UNKNOWN
    offset, created_ms, later_ms = map(int, text.split(" "))
    return PostVersion(offset, created_ms, created_ms + later_ms)
