"""A signal of one's own: how much of a post was not said before, as `signals.novelty`.

Declare the signal to every worker and to this program, create its topic, and give it a weight:

    export FEEDMILL_SIGNALS=novelty:objective
    feedmill topics create
    python examples/novelty_signal.py worker -l info
    feedmill config set weights novelty=0.3

The value is the share of a post's word pairs that none of the last 10,000 to 20,000 posts of this
process had.  The memory is bounded, and it is lost at the end of the process.
"""

from __future__ import annotations

import hashlib
import itertools
import re

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Post
from feedmill.streams.own_signal import signal_app

POSTS_PER_FILTER = 10_000
_ROWS = 2
_COLUMNS = 1 << 20
_WORD = re.compile(r"\w+")


class Novelty:
    """Remembers the word pairs of recent posts in two Bloom filters, each of 2 MiB.

    The older filter is emptied and used again after every `posts_per_filter` posts.  Two pairs
    can share cells, so a new pair may pass for known, never a known one for new.
    """

    def __init__(self, posts_per_filter: int = POSTS_PER_FILTER) -> None:
        self._posts_per_filter = posts_per_filter
        self._current = np.zeros((_ROWS, _COLUMNS), np.bool_)
        self._previous = np.zeros((_ROWS, _COLUMNS), np.bool_)
        self._posts = 0

    def score(self, text: str) -> float:
        """Return the share of new word pairs, in [0, 1], and remember them; 0 without a pair."""
        cells = word_pair_cells(text)
        if not cells.shape[1]:
            return 0.0
        rows = np.arange(_ROWS)[:, None]
        is_known = self._current[rows, cells] | self._previous[rows, cells]
        self._remember(rows, cells)
        return 1.0 - float(is_known.all(axis=0).mean())

    def _remember(self, rows: npt.NDArray[np.intp], cells: npt.NDArray[np.intp]) -> None:
        self._current[rows, cells] = True
        self._posts += 1
        if self._posts % self._posts_per_filter == 0:
            self._current, self._previous = self._previous, self._current
            self._current[:] = False


def word_pair_cells(text: str) -> npt.NDArray[np.intp]:
    """Return the cells of a text's distinct word pairs, a column for each: (rows, pairs)."""
    words = _WORD.findall(text.lower())
    pairs = {f"{first} {second}" for first, second in itertools.pairwise(words)}
    digests = (hashlib.blake2b(pair.encode(), digest_size=4 * _ROWS).digest() for pair in pairs)
    hashes = np.frombuffer(b"".join(digests), "<u4").reshape(-1, _ROWS)
    return (hashes.T % _COLUMNS).astype(np.intp)


app = signal_app("novelty", model="word-pairs", version="1")
memory = Novelty()


@app.answer
def novelty(post: Post) -> float:
    """Answer a post."""
    return memory.score(post.text)


if __name__ == "__main__":
    app.main()
