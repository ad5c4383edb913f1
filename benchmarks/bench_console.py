"""Time the console's preview from the input to the list, and the memory of its view.

The posts are written as records, see `live_posts.py`, and the process of the view reads them; then
every question has other weights.  The limit at 100,000 posts is a median of 200 ms, at a million
700 MB of memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import machine
import numpy as np
from live_posts import LivePosts
from subjects import PARTITIONS, own_servers

from feedmill.streams.environment import environment_variables

LIMIT_MS, LIMIT_MB = 200, 700


class Reader:
    """A browser without a screen, signed in by the link that the console prints."""

    def __init__(self, link: str) -> None:
        url = urlsplit(link)
        self._connection = HTTPConnection(str(url.hostname), url.port or 80, timeout=60)
        self._headers: dict[str, str] = {}
        answer = self.get(f"{url.path}?{url.query}")
        self._headers["Cookie"] = str(answer.headers["Set-Cookie"]).partition(";")[0]

    def get(self, path: str) -> HTTPResponse:
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        self.text = answer.read().decode()
        return answer


def measure(reader: Reader, posts: int, questions: int) -> list[float]:
    """Return the milliseconds from each question to the list of its answer, as HTML."""
    begun = time.monotonic()
    while f"{posts:,} posts in the view" not in reader.text:
        assert time.monotonic() < begun + 1800, reader.text
        time.sleep(0.5)
        reader.get("/feeds/global/preview/lists")
    took = []
    for number in range(questions):
        value = f"{0.501 + number / questions / 2:.4f}"
        start = time.perf_counter()
        reader.get(f"/feeds/global/preview/lists?engagement={value}&drag=1")
        took.append(1000 * (time.perf_counter() - start))
        assert reader.text.count("data-id=") == 40, reader.text
    return took


def memory_mb(pid: int) -> float:
    """Return the resident megabytes of the one child of a process."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    child = next(text.split()[0] for one in threads if (text := one.read_text("ascii").strip()))
    pages = int(Path(f"/proc/{child}/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=100)
    options = parser.parse_args()
    print(machine.describe())
    with own_servers() as environment:
        LivePosts(environment, options.posts, PARTITIONS, older=0).write()
        command = (sys.executable, "-m", "feedmill.cli.main", "console", "--port", "0", "--link")
        env = {**os.environ, **environment_variables(environment)}
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as console:
            assert console.stdout is not None
            try:
                reader = Reader(console.stdout.readline().split()[-1])
                took = measure(reader, options.posts, options.questions)
                used_mb = memory_mb(console.pid)
            finally:
                console.terminate()
    p50, p99 = np.quantile(took, (0.5, 0.99))
    print(
        f"{options.posts:,} posts: a preview p50 {p50:.0f} ms (limit {LIMIT_MS}), p99 {p99:.0f} ms;"
        f" the process of the view {used_mb:.0f} MB (limit {LIMIT_MB} at 1,000,000)"
    )


if __name__ == "__main__":
    main()
