"""What a restore took goes back to the system."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from feedmill.streams.stages.heap import trim_heap

PROGRAM = """
import sys, threading
from feedmill.streams.stages.heap import keep_heap_small
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


def heaps(kind: str) -> int:
    """Count the heaps of threads, each of which begins at a multiple of 64 MiB."""
    arguments = [sys.executable, "-c", PROGRAM, kind]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()


def test_many_threads_share_few_heaps() -> None:
    assert heaps("small") <= 2 < heaps("as it is")


def test_free_blocks_between_used_ones_go_back() -> None:
    blocks = [bytes(20_000) for _ in range(5_000)]
    kept, full = blocks[::50], resident_bytes()
    del blocks
    trim_heap()
    assert full - resident_bytes() > 50_000_000
    assert len(kept) == 100
