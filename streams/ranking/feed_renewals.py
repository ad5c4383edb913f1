"""Which feeds are to be renewed: each some seconds after it was written, not all at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from math import ceil

RENEW_S = 5.0
LOOK_EVERY_S = 0.2
# So many at a time, or what it takes to renew all within `_ROUND_S`.
_LEAST_AT_ONCE = 25
_ROUND_S = 2.5


class FeedRenewals:
    """Remembers when each feed was written last; seconds are those of a monotonic clock.

    Attributes
    ----------
    is_hurried
        Whether all are to be renewed, as fast as they can be written.
    """

    def __init__(self) -> None:
        self.is_hurried = False
        self._written_s: dict[str, float] = {}

    def written(self, feeds: Iterable[str], now_s: float) -> None:
        """Note that these were written, renewed or not."""
        self._written_s.update(dict.fromkeys(feeds, now_s))

    def hurry(self) -> None:
        """Have all feeds be due at once."""
        self.is_hurried = True
        self._written_s.clear()

    def due(self, feeds: Collection[str], now_s: float) -> list[str]:
        """Return those of all `feeds` that are to be renewed now.

        To be called every `LOOK_EVERY_S`, and after `hurry` until that is over.
        """
        written_s, before_s = self._written_s, now_s - RENEW_S
        if len(written_s) > len(feeds):
            self._written_s = written_s = {f: written_s[f] for f in feeds if f in written_s}
        due = (feed for feed in feeds if written_s.get(feed, 0.0) <= before_s)
        most = max(_LEAST_AT_ONCE, ceil(len(feeds) * LOOK_EVERY_S / _ROUND_S))
        found = list(islice(due, most))
        self.is_hurried = self.is_hurried and len(found) == most
        return found
