"""The MB that three models and a full post history add to this process; `bench_text.py` runs it.

    python benchmarks/model_memory.py [--posts 262144]

Alone, since whatever else a process has loaded would hide what they add.
"""

from __future__ import annotations

import argparse
import resource
from pathlib import Path

from feedmill.events.post import Post
from feedmill.features.near_copies import PostHistory, PostRecord
from feedmill.filters.registry import FILTERS, load

BATCH = 2048


def resident_mb() -> float:
    """Return what this process holds in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def added_mb(posts: int) -> float:
    """Return what the models add, and a history of so many posts."""
    before = resident_mb()
    models = [load(name) for name in FILTERS]
    history = PostHistory()
    texts = [f"{i} tells of place {i * 7919 % 10007} and of what was seen" for i in range(BATCH)]
    for start in range(0, posts, BATCH):
        history.fold(
            [
                PostRecord(n, f"p{n}", f"a{n % 50021}", f"{start} {text}")
                for n, text in enumerate(texts, start)
            ]
        )
    for model in models:
        model.score_many([Post("p", "a", 1, text) for text in texts])
    return resident_mb() - before


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posts", type=int, default=1 << 18)
    print(added_mb(parser.parse_args().posts))


if __name__ == "__main__":
    main()
