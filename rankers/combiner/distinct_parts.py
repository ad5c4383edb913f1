"""Where a batch of records is cut: what of it may be taken at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# With fewer records plain Python is quicker than numpy.
MANY_FROM = 48


def distinct_parts(post_ids: Sequence[str]) -> Iterator[slice]:
    """Slices, as long as may be, in which no post comes twice."""
    if len(set(post_ids)) == len(post_ids):
        yield slice(0, len(post_ids))
        return
    start, seen = 0, set[str]()
    for i, post_id in enumerate(post_ids):
        if post_id in seen:
            yield slice(start, i)
            start, seen = i, set()
        seen.add(post_id)
    yield slice(start, len(post_ids))
