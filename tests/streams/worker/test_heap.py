"""What a restore took goes back to the system, and what stays is in huge pages."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from feedmill.streams.worker import heap
from feedmill.streams.worker.heap import trim_heap

PROGRAM = """
import sys, threading
from feedmill.streams.worker.heap import keep_heap_small
if sys.argv[1] == "small":
    keep_heap_small()
heaps = set()
def fill():
    buffers = [bytearray(100_000) for _ in range(50)]
    ready.wait()
ready = threading.Barrier(16)
threads = [threading.Thread(target=fill) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
lines = open("/proc/self/maps").read().splitlines()
spans = [line.split()[0].split("-") for line in lines if len(line.split()) == 5]
print(sum(1 for start, _ in spans if int(start, 16) % (64 << 20) == 0))
"""

SETTLING = """
import sys
from pathlib import Path
from feedmill.streams.worker import heap
heap._HUGE_PAGES = Path(sys.argv[1])
def kib(name):
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(name + ":"))
objects = [str(i) * 10 for i in range(400_000)]
before = kib("AnonHugePages")
heap.settle_memory()
print((kib("AnonHugePages") - before) / kib("Anonymous"), objects[-1] == "399999" * 10)
"""
COLLECTING = """
import gc
from feedmill.streams.worker import heap
heap.settle_memory()
kept, looked_at = [], [0]
gc.callbacks.append(lambda phase, info: info["generation"] == 1 and looked_at.append(len(kept)))
for _ in range(400_000):
    kept.append([])
print(max(after - before for before, after in zip(looked_at, looked_at[1:])))
"""
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")


def heaps(kind: str) -> int:
    """Count the heaps of threads, each of which begins at a multiple of 64 MiB."""
    arguments = [sys.executable, "-c", PROGRAM, kind]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()


def test_the_collector_looks_at_few_new_objects_at_once() -> None:
    command = [sys.executable, "-c", COLLECTING]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    # So many take it 5 to 10 ms.
    assert 20_000 < int(done.stdout) <= 40_000


def test_many_threads_share_few_heaps() -> None:
    assert heaps("small") <= 2 < heaps("as it is")


def test_the_resident_memory_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = bytearray(50 * 1024**2)
    assert heap.resident_mib() == pytest.approx(resident_bytes() / 1024**2, abs=2)
    assert len(kept) // 1024**2 <= (heap.resident_mib() or 0)
    # Where the system does not say it there is none.
    monkeypatch.setattr(heap, "_STATM", Path("/nowhere"))
    assert heap.resident_mib() is None


def test_free_blocks_between_used_ones_go_back() -> None:
    blocks = [bytes(20_000) for _ in range(5_000)]
    kept, full = blocks[::50], resident_bytes()
    del blocks
    trim_heap()
    assert full - resident_bytes() > 50_000_000
    assert len(kept) == 100


def part_moved(folder: Path) -> float:
    """What part of the memory of a process moved into huge pages when it settled."""
    arguments = [sys.executable, "-c", SETTLING, str(folder)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    part, is_whole = done.stdout.split()
    assert is_whole == "True"
    return float(part)


def has_huge_pages() -> bool:
    """Whether this is a Linux that moves memory into huge pages at once (6.1), and may."""
    if not (HUGE_PAGES / "hpage_pmd_size").exists() or "[never]" in (
        HUGE_PAGES / "enabled"
    ).read_text("ascii"):
        return False
    major, minor = os.uname().release.partition("-")[0].split(".")[:2]
    return (int(major), int(minor)) >= (6, 1)


@pytest.mark.skipif(not has_huge_pages(), reason="this system has no huge pages")
def test_what_stays_is_in_huge_pages_unless_the_system_is_to_have_none(tmp_path: Path) -> None:
    assert part_moved(tmp_path / "nowhere") == 0.0
    (tmp_path / "hpage_pmd_size").write_text((HUGE_PAGES / "hpage_pmd_size").read_text())
    (tmp_path / "enabled").write_text("always madvise [never]")
    assert part_moved(tmp_path) == 0.0
    (tmp_path / "enabled").write_text("always [madvise] never")
    assert part_moved(tmp_path) > 0.1
