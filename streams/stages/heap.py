"""The C library's heap: what librdkafka and Python gave back in it goes back to the system.

Threads of librdkafka fill heaps of their own while logs are restored, and glibc keeps what is free
in them.  Other C libraries are left as they are.
"""

from __future__ import annotations

import ctypes

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2
# Larger blocks are mapped one by one and go back at once.  What numpy takes for a batch is smaller:
# to map it anew for each batch is a sixth of the loop's processor time.
_MAPPED_FROM = 1024 * 1024
_TRIMMED_FROM = 2 * _MAPPED_FROM


def keep_heap_small() -> None:
    """Have few heaps in this process; called before there are threads."""
    library = _glibc()
    if library is not None:
        library.mallopt(_M_ARENA_MAX, _ARENAS)
        library.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
        library.mallopt(_M_TRIM_THRESHOLD, _TRIMMED_FROM)


def trim_heap() -> None:
    """Give all free pages back; it may take some 100 ms, without the interpreter's lock."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
