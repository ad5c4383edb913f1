"""The memory of the process: what is free goes back to the system, what stays is in huge pages.

Threads of librdkafka fill heaps of their own while logs are restored, and glibc keeps what is free
in them.  Other C libraries, and other systems than Linux, are left as they are.
"""

from __future__ import annotations

import ctypes
import gc
import resource
from pathlib import Path

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2
# Larger blocks are mapped one by one and go back at once.  What numpy takes for a batch is smaller:
# to map it anew for each batch is a sixth of the loop's processor time.
_MAPPED_FROM = 1024 * 1024
_TRIMMED_FROM = 2 * _MAPPED_FROM
# So many more objects than were freed have the collector look at them, for a millisecond; once more
# at those of three times, some 5 ms, 9 where all are new feeds; and at all every three million.
_COLLECT_FROM, _AGAIN_AFTER, _ALL_AFTER = 10_000, 1, 100
# Of Linux' mman.h, since 6.1; earlier ones answer that they do not know it.
_MADV_COLLAPSE = 25
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")
_MAPS = Path("/proc/self/maps")
_STATM = Path("/proc/self/statm")


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


def resident_mib() -> int | None:
    """Return the resident memory of the process; None on a system that does not say it so."""
    try:
        pages = int(_STATM.read_text("ascii").split()[1])
    except OSError:
        return None
    return pages * resource.getpagesize() // 1024**2


def settle_memory() -> None:
    """Prepare for work what is there, such as models and lists: it is there to stay.

    Some 50 MB take some 30 ms.
    """
    # The collector need not look at it again.
    gc.collect()
    gc.freeze()
    # A cycle makes more objects than Python's 700, and nearly all of them end with it.
    gc.set_threshold(_COLLECT_FROM, _AGAIN_AFTER, _ALL_AFTER)
    _use_huge_pages()


def _use_huge_pages() -> None:
    """Move private memory into huge pages, unless the system is set to have none.

    A batch reads a little of very much, and in small pages the processor often has to look for
    the address first.
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
            # It ends with an error where a part is empty, having done all the rest.
            library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_COLLAPSE)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
