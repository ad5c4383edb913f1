"""One backlog, shared by more and more processes: the processor time of the busiest.

    python benchmarks/bench_share.py [--posts 60000] [--rounds 1]

The processes stand still (SIGSTOP) while the posts are sent, then share them.  `workers` do all,
`judges` have a ranker beside them that is not counted.  All posts are decided in Redis at the end,
or the run fails.  Wall time is no part of it: four processes on two cores say nothing by that.  So
what each takes in a second while nothing comes is measured before, and taken off for each second.
"""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Sequence
from statistics import median

import numpy as np
from bench_stopped import JUDGE, RANKER, Reader, wait, workers
from load import Load
from machine import describe
from subjects import Subject, own_servers

PARTITIONS = 8
COUNTS = (1, 2, 4)
# Nobody is expelled while the backlog is sent.
SESSION_S = 120.0
WITHIN_S = 300.0
IDLE_S = 10.0
BARS = {("workers", 4): 0.57, ("judges", 4): 0.5}


def measure(role: str, count: int, posts: int) -> list[float]:
    """Return the microseconds of processor a post that each process of the role takes."""
    roles = [()] * count if role == "workers" else [JUDGE] * count + [RANKER]
    with (
        own_servers(partitions=PARTITIONS) as environment,
        workers(environment, *roles, session_s=SESSION_S) as subjects,
    ):
        load, reader = Load(environment), Reader(environment)
        load.draw(posts)
        time.sleep(10)  # Partitions and shards are shared out.
        begin, since = _seconds(subjects[:count]), time.monotonic()
        time.sleep(IDLE_S)
        idle = (_seconds(subjects[:count]) - begin) / (time.monotonic() - since)
        _signal(subjects, signal.SIGSTOP)
        left = [load.send_post(watched=False) for _ in range(posts)]
        load.flush()
        begin, since = _seconds(subjects[:count]), time.monotonic()
        _signal(subjects, signal.SIGCONT)

        def all_decided() -> bool:
            nonlocal left
            left = reader.undecided(left)
            return not left

        wait(all_decided, "all posts are decided", WITHIN_S, every=0.5)
        taken = _seconds(subjects[:count]) - begin
        taken -= idle * (time.monotonic() - since)
    return [float(us) for us in taken / posts * 1e6]


def _seconds(subjects: Sequence[Subject]) -> np.ndarray:
    return np.array([one.cpu_seconds() for one in subjects])


def _signal(subjects: Sequence[Subject], number: int) -> None:
    for one in subjects:
        one.process.send_signal(number)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posts", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=("workers", "judges"))
    options = parser.parse_args()
    print(describe(), flush=True)
    for role in options.only or ("workers", "judges"):
        busiest: dict[int, list[float]] = {count: [] for count in COUNTS}
        for _ in range(options.rounds):
            for count in COUNTS:
                found = measure(role, count, options.posts)
                busiest[count].append(max(found))
                each = " ".join(f"{us:.0f}" for us in found)
                print(f"{count} {role}: {each} µs a post of the backlog", flush=True)
        for count in COUNTS[1:]:
            ratios = [a / b for a, b in zip(busiest[count], busiest[1], strict=True)]
            bar = BARS.get((role, count))
            print(
                f"busiest of {count} {role}: {median(ratios):.2f} of one"
                f" ({min(ratios):.2f} to {max(ratios):.2f})" + (f", at most {bar}" if bar else ""),
                flush=True,
            )


if __name__ == "__main__":
    main()
