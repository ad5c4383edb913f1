"""What a model, or all code of models, holds in memory: arrays that never change once loaded.

Each has a checksum, in slices that take a fraction of a millisecond.  A flipped bit changes it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import FunctionType, ModuleType
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from feedmill.features.text.code_points import CharacterTable

SLICE_BYTES = 1 << 20
Memory = npt.NDArray[Any] | bytes | CharacterTable
# What models and their features keep in tables of modules.
_FOLDERS = ("feedmill.features.", "feedmill.models.", "feedmill.filters.", "feedmill.rankers.")
_CACHED = type(cache(lambda: None))
_WITHOUT_PARTS = (str, int, float, type, ModuleType, FunctionType)


class MemorySlice:
    """A part of an array, and the checksum that it had when it was first looked at."""

    def __init__(self, name: str, memory: Memory, begin: int = 0) -> None:
        self._name = name
        self._memory = memory
        self._begin = begin
        self._sum: int | None = None

    def failure(self) -> str:
        """Say what has changed; "" the first time, and while nothing has."""
        if isinstance(self._memory, CharacterTable):
            is_same = self._memory.is_intact()
        else:
            found = crc32(_bytes_of(self._memory)[self._begin : self._begin + SLICE_BYTES])
            is_same = self._sum in (None, found)
            self._sum = found if self._sum is None else self._sum
        return "" if is_same else f"the array `{self._name}`"


def slices_of(roots: Iterable[tuple[str, object]]) -> list[MemorySlice]:
    """Return slices of all arrays, tables of bytes and of characters that objects lead to.

    `roots` have a name each.  Views of one array are that array.  Values that a function without
    arguments keeps are looked into once it was called.
    """
    found: list[MemorySlice] = []
    seen: dict[int, object] = {}
    stack = [*roots]
    while stack:
        name, value = stack.pop()
        while isinstance(value, np.ndarray) and isinstance(value.base, np.ndarray):
            value = value.base
        if id(value) in seen:
            continue
        # What is kept here gives its `id` to nothing else.
        seen[id(value)] = value
        if isinstance(value, CharacterTable):
            found.append(MemorySlice(name, value))
        elif isinstance(value, np.ndarray) and value.dtype.hasobject:
            stack.append((name, value.tolist()))
        elif isinstance(value, np.ndarray | bytes):
            size = len(_bytes_of(value))
            found += [MemorySlice(name, value, at) for at in range(0, size, SLICE_BYTES)]
        elif not isinstance(value, _WITHOUT_PARTS):
            stack += _parts(name, value)
    return found


def module_roots() -> list[tuple[str, object]]:
    """Return the variables of the modules that models and their features are made of."""
    return [
        (f"{module_name.removeprefix('feedmill.')}.{name}", value)
        for module_name, module in sorted(sys.modules.items())
        if module_name.startswith(_FOLDERS)
        for name, value in vars(module).items()
        if not name.startswith("__")
    ]


def uncalled(roots: Iterable[tuple[str, object]]) -> list[tuple[str, Any]]:
    """Return the functions among them that keep their value, and have none yet."""
    return [(name, value) for name, value in roots if _keeps_one(value) and not _has_one(value)]


def _keeps_one(value: Any) -> bool:
    return isinstance(value, _CACHED) and not inspect.signature(value).parameters


def _has_one(value: Any) -> bool:
    return bool(value.cache_info().currsize)


def _bytes_of(memory: npt.NDArray[Any] | bytes) -> memoryview:
    if isinstance(memory, bytes):
        return memoryview(memory)
    # A view, since an array that owns its memory has it in one piece.
    return memory.ravel(order="K").view(np.uint8).data


def _parts(name: str, value: Any) -> Iterator[tuple[str, object]]:
    if isinstance(value, _CACHED):
        if _keeps_one(value) and _has_one(value):
            yield f"{name}()", value()
    elif isinstance(value, Mapping | list | tuple | set | frozenset):
        for at, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            # Of many words or numbers none need get a name.
            if not isinstance(part, _WITHOUT_PARTS):
                yield f"{name}[{at!r}]", part
    else:
        slots = {slot for kind in type(value).__mro__ for slot in getattr(kind, "__slots__", ())}
        for key in sorted({*slots, *getattr(value, "__dict__", ())}):
            if hasattr(value, key):
                yield f"{name}.{key}", getattr(value, key)
