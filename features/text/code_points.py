"""The characters of a text as numbers, so that numpy works on all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

CodePoints = npt.NDArray[np.uint8] | npt.NDArray[np.uint32]
Flags = npt.NDArray[np.bool_]


def code_points(text: str) -> CodePoints:
    """Return the code points of a text: (characters,) uint8 if it is in ASCII, else uint32."""
    if text.isascii():
        return np.frombuffer(text.encode(), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def text_of(codes: npt.NDArray[Any]) -> str:
    """Return the text of code points, as `code_points` gives them."""
    if codes.dtype == np.uint8:
        return codes.tobytes().decode("ascii")
    return codes.tobytes().decode("utf-32-le", "surrogatepass")


class CharacterTable:
    """What a function says of characters, a number; it is asked once for each that comes.

    `numbers` is of what type these are; its largest is not among them.
    """

    def __init__(
        self, number_of: Callable[[str], int], numbers: type[np.unsignedinteger[Any]]
    ) -> None:
        self._number_of = number_of
        # One more than the number; 0 where it has not been asked for.
        self._known = np.zeros(0x110000, dtype=numbers)

    def of(self, codes: CodePoints) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Return the number of each character."""
        known = self._known.take(codes)
        if not known.all():
            for code in set(codes[known == 0].tolist()):
                self._known[code] = self._number_of(chr(code)) + 1
            known = self._known.take(codes)
        known -= 1
        return known
