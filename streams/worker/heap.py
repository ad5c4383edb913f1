"""Gives free memory back to the system, and moves memory that stays into huge pages.

While logs are restored, threads of librdkafka fill heaps of their own, and glibc keeps the free
memory of these heaps.  With another C library or system than Linux nothing here does anything.
"""

from __future__ import annotations

import ctypes
import gc
import resource
from pathlib import Path

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2
# glibc maps larger blocks one by one and gives them back at once.  The arrays of a batch are
# smaller: to map them anew for each batch takes a sixth of the loop's processor time.
_MAPPED_FROM = 1024 * 1024
_TRIMMED_FROM = 2 * _MAPPED_FROM
# The collector looks at new objects, for a millisecond, once there are so many more than freed
# ones; at those of three such looks for 5 to 9 ms; and at all objects once in three million.
_COLLECT_FROM, _AGAIN_AFTER, _ALL_AFTER = 10_000, 1, 100
# Of Linux' mman.h, since 6.1; earlier ones answer that they do not know it.
_MADV_COLLAPSE = 25
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")
_MAPS = Path("/proc/self/maps")
_STATM = Path("/proc/self/statm")


def keep_heap_small() -> None:
    """Let this process have few heaps; called before there are threads."""
    library = _glibc()
    if library is not None:
        library.mallopt(_M_ARENA_MAX, _ARENAS)
        library.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
        library.mallopt(_M_TRIM_THRESHOLD, _TRIMMED_FROM)


def trim_heap() -> None:
    """Give all free pages back, in up to 100 ms, without holding the interpreter's lock."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def resident_mib() -> int | None:
    """Return the resident memory of the process; None on a system without `/proc`."""
    try:
        pages = int(_STATM.read_text("ascii").split()[1])
    except OSError:
        return None
    return pages * resource.getpagesize() // 1024**2


def settle_memory() -> None:
    """Prepare what was loaded, such as models and lists, for a long life; 50 MB take 30 ms."""
    # The collector need not look at loaded objects again.
    gc.collect()
    gc.freeze()
    # A cycle makes more objects than Python's 700, and nearly all of them end with it.
    gc.set_threshold(_COLLECT_FROM, _AGAIN_AFTER, _ALL_AFTER)
    _use_huge_pages()


def _use_huge_pages() -> None:
    """Move private memory into huge pages, unless the system is set to have none.

    A batch reads a few bytes at many places, and with small pages the processor often has to look
    the address up first.
    """
    try:
        page = int((_HUGE_PAGES / "hpage_pmd_size").read_text("ascii"))
        may = "[never]" not in (_HUGE_PAGES / "enabled").read_text("ascii")
        lines = _MAPS.read_text("utf-8").splitlines() if may else []
    except OSError:
        return
    library = ctypes.CDLL(None)
    for line in lines:
        span, access, _, _, inode, *name = line.split(maxsplit=5)
        if access != "rw-p" or inode != "0" or name not in ([], ["[heap]"]):
            continue
        start, end = (int(address, 16) for address in span.split("-"))
        start, end = -(-start // page) * page, end // page * page
        if start < end:
            # Linux reports an error where a part is empty, but moves all other parts.
            library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_COLLAPSE)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
