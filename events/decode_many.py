"""Many records from their bytes at once: an answer for all of them, or none.

Where `None` is returned, one of them is refused or unusual; then they are to be decoded one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import cast

import msgspec
import numpy as np

from feedmill.events.limits import is_id, is_name
from feedmill.events.post import Post
from feedmill.events.reasons import DECODE_ERRORS
from feedmill.events.signal import MAX_FLOAT32, Signal, SignalNames, has_unit_range

# Keys or values; `join` raises TypeError where one is None.
Texts = Sequence[bytes | None]

_post = msgspec.json.Decoder(Post)
_signals = msgspec.json.Decoder(list[Signal])
_BEGIN, _END = b"{}"
# What an id cannot have of ASCII, but the line break, which stands between ids.
_NOT_IN_IDS = bytes(c for c in range(128) if not is_id(chr(c))).replace(b"\n", b"")


def decode_posts(keys: Texts, values: Texts) -> list[Post] | None:
    """Decode records of `posts` as `decode_post` does one after the other.

    Unusual are a deletion, and an id beyond ASCII.
    """
    try:
        posts = [*map(_post.decode, cast("Sequence[bytes]", values))]
    except (TypeError, *DECODE_ERRORS):
        return None
    if not _have_keys([post.post_id for post in posts], keys):
        return None
    ids = [post.author_id for post in posts]
    ids += [post.in_reply_to for post in posts if post.in_reply_to is not None]
    names: set[str | None] = {post.lang for post in posts}
    names.update({post.tenant for post in posts})
    names.update(chain.from_iterable({post.communities or () for post in posts}))
    names.discard(None)
    are_names = all(map(is_name, cast("set[str]", names)))
    are_kept = True not in [post.deleted for post in posts]
    return posts if are_kept and are_names and _lines_of_ids(ids) is not None else None


def decode_signals(
    name: str, names: SignalNames, keys: Texts, values: Texts
) -> list[Signal] | None:
    """Decode records of `signals.<name>` as `decode_signal` does one after the other.

    Unusual are a withdrawn signal, an error, an overruled verdict, and an id beyond ASCII.
    """
    try:
        joined = _joined(cast("Sequence[bytes]", values))
        signals = _signals.decode(b"[" + joined + b"]") if joined else []
    except (TypeError, *DECODE_ERRORS):
        return None
    if len(signals) != len(values) or not _have_keys([s.post_id for s in signals], keys):
        return None
    found = [signal.value for signal in signals]
    try:
        numbers = np.fromiter(cast("list[float]", found), np.float64, len(found))
    except TypeError:  # one is None
        return None
    least, most = (0.0, 1.0) if has_unit_range(name, names) else (-MAX_FLOAT32, MAX_FLOAT32)
    return signals if least <= numbers.min() and numbers.max() <= most else None


def _have_keys(post_ids: Sequence[str], keys: Texts) -> bool:
    """Whether these are ids, and the keys are theirs."""
    lines = _lines_of_ids(post_ids)
    try:
        return lines is not None and lines == b"\n".join(cast("Sequence[bytes]", keys))
    except TypeError:
        return False


def _joined(values: Sequence[bytes]) -> bytes:
    """Join values with commas; nothing unless each ends with ``}`` and begins with its only ``{``.

    Together they could be JSON where one alone is none: a text or list might begin in one and end
    in the next.  Here it cannot: as many objects as values need every ``{``, so that each value
    begins outside a text; and an object that ended before its value did would leave a ``}`` behind
    that is no JSON.
    """
    joined = b",".join(values)
    sizes = np.fromiter(map(len, values), np.int64, len(values))
    if not sizes.all():
        return b""
    text, ends = np.frombuffer(joined, np.uint8), np.cumsum(sizes + 1) - 2
    are_whole = (text[ends - sizes + 1] == _BEGIN).all() and (text[ends] == _END).all()
    return joined if are_whole and np.count_nonzero(text == _BEGIN) == len(values) else b""


def _lines_of_ids(values: Sequence[str]) -> bytes | None:
    """Return ids joined by line breaks; None unless they are ASCII and `check_id` accepts each.

    None is no answer: an id beyond ASCII may be good.  Types limit their lengths already.
    """
    joined = "\n".join(values)
    if not joined.isascii() or joined.count("\n") >= max(1, len(values)) or not all(values):
        return None
    text = joined.encode()
    return text if len(text.translate(None, _NOT_IN_IDS)) == len(text) else None
