"""A second worker joins and leaves: how late posts are before, meanwhile and after.

    python benchmarks/bench_workers.py [--posts 60000] [--rate 50] [--rounds 1]
    python benchmarks/bench_workers.py --against ../before/.venv/bin/python

The posts are written as records, see `live_posts.py`.  Every post that is sent is watched until the
feed of its community has it; one that never shows fails the run.  `one` is a worker alone, `joins`
from the start of the second until some seconds after it is ready, `two` both of them, `leaves` from
the SIGTERM of one.  With `--against` the workers of another checkout are measured in turns.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from live_posts import LivePosts
from load import Load, Watcher
from machine import describe
from subjects import PARTITIONS, Subject, own_servers, start

WARM_S = 10.0
SETTLE_S = 5.0
READY_WITHIN_S = 180.0


def measure(
    python: str, posts: int, rate: float, seconds: float, *, named: bool
) -> dict[str, list[float]]:
    """Return by phase how many milliseconds each of its posts took."""
    with own_servers(python) as environment:
        LivePosts(environment, posts, PARTITIONS).write()

        def worker(name: str) -> Subject:
            variables = {"FEEDMILL_INSTANCE": name} if named else {}
            return start("worker", environment, python=python, variables=variables)

        workers = [worker("first")]
        found: dict[str, list[float]] = {}
        try:
            workers[0].wait_ready(READY_WITHIN_S)
            watcher = Watcher(environment)
            load = Load(environment, watcher)
            load.draw(int(rate * 300))
            load.posts(rate, WARM_S)

            def phase(name: str, is_over: Callable[[], bool] = lambda: True) -> None:
                since = time.perf_counter()
                while True:
                    load.posts(rate, seconds, drain=False)
                    if is_over():
                        break
                    if time.perf_counter() > since + READY_WITHIN_S:
                        raise SystemExit(f"{name}: {workers[-1].log_text()[-2000:]}")
                until = time.perf_counter()
                load.posts(rate, SETTLE_S)
                found[name] = watcher.milliseconds(since, until)

            phase("one")
            workers.append(worker("second"))
            phase("joins", workers[1].is_ready)
            phase("two")
            workers.pop().stop()
            phase("leaves")
        finally:
            for one in workers:
                one.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posts", type=int, default=60_000)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--named", action="store_true", help="beside them workers with names")
    parser.add_argument("--against", default="", help="the python of another checkout")
    options = parser.parse_args()
    print(describe(), flush=True)
    sides = {"worker": (sys.executable, False)}
    if options.named:
        sides["named"] = sys.executable, True
    if options.against:
        sides = {"before": (options.against, options.named), **sides}
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for number in range(options.rounds):
        for name, (python, named) in sides.items():
            load = options.posts, options.rate, options.seconds
            times = measure(python, *load, named=named)
            for phase, ms in times.items():
                p50, p99 = np.percentile(ms, [50, 99]).tolist()
                found.setdefault((name, phase), []).append((p50, p99, max(ms)))
            shown = [f"{phase} {median(ms):.0f}/{max(ms):.0f}" for phase, ms in times.items()]
            print(f"round {number + 1}, {name}: p50/max ms {', '.join(shown)}", flush=True)
    print(f"\n{'subject':<9}{'phase':<8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'p50 / one':>11}")
    for (side, phase), figures in found.items():
        p50, p99, most = (median(column) for column in zip(*figures, strict=True))
        alone = median(one[0] for one in found[side, "one"])
        print(f"{side:<9}{phase:<8}{p50:>9.1f}{p99:>9.1f}{most:>9.1f}{p50 / alone:>11.1f}")


if __name__ == "__main__":
    main()
