"""Combine and take the top 500, against the bare numpy operations in the same run.

    python benchmarks/bench_combine.py [--sizes 10000,100000,1000000]

Peer: the formula of the contract over plain arrays, `argpartition`, a sort, and the ids
of the best with their scores; it knows no ties, no author limit, no feeds, no growing
columns.  Ours is `Combiner.apply` of new weights (or gates) and the cycle that follows,
up to the change to be written.  The orders are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from machine import describe

from feedmill.events.decode import encode
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal, SignalNames
from feedmill.events.weights import DEFAULT_SCALE
from feedmill.rankers.combiner import Combiner
from feedmill.rankers.score import EPOCH_MS, HOUR_MS, LEAST_SUM

NAMES = SignalNames()
NOW_MS = 1_790_000_000_000
TOP = 500
Arrays = dict[str, npt.NDArray[Any]]  # by column, a row per post


def fill(n: int, rng: np.random.Generator, now_ms: int = NOW_MS) -> tuple[Combiner, Arrays]:
    """A combiner of n live posts of one in three authors, and the same as plain arrays."""
    combiner = Combiner(NAMES)
    created = now_ms - rng.integers(0, 150 * 3_600_000, n)
    arrays: Arrays = {name: rng.beta(1, 12, n).astype(np.float32) for name in NAMES.gates}
    arrays["quality"] = rng.random(n).astype(np.float32)
    arrays["engagement"] = rng.beta(1, 30, n).astype(np.float32)
    arrays["created_ms"] = created
    arrays["offset"], arrays["signal_offset"] = np.arange(n), np.arange(n)
    view = combiner.view
    for i in range(n):
        view.update_post(
            Post(f"post-{i:08d}", f"author-{i % (n // 3)}", int(created[i]), ""), i, now_ms
        )
    for name in (*NAMES.gates, "quality", "engagement"):
        for i, value in enumerate(arrays[name].tolist()):
            view.update_signal(name, Signal(f"post-{i:08d}", i, value, name, "1", now_ms))
    return combiner, arrays


def bare(
    arrays: Arrays, ids: list[str], alpha: float, beta: float, factor: npt.NDArray[np.float64]
) -> list[tuple[str, float]]:
    """The top 500, by numpy alone; `factor` 0 hides."""
    total = np.float64(alpha * DEFAULT_SCALE["quality"]) * arrays["quality"]
    total += np.float64(beta * DEFAULT_SCALE["engagement"]) * arrays["engagement"]
    np.maximum(total, LEAST_SUM, out=total)
    total *= factor
    with np.errstate(divide="ignore"):
        np.log2(total, out=total)
    total += (arrays["created_ms"] - EPOCH_MS) / (24 * HOUR_MS)
    best = np.argpartition(total, len(total) - TOP)[-TOP:]
    best = best[np.argsort(-total[best])]
    return list(zip([ids[i] for i in best.tolist()], total[best].tolist(), strict=True))


def bare_gates(arrays: Arrays, hide_at: float) -> npt.NDArray[np.float64]:
    """The product of demote factors, 0 where hidden."""
    n = len(arrays["created_ms"])
    factor, hide = np.ones(n), np.zeros(n, bool)
    for name in NAMES.gates:
        value = arrays[name]
        known = (arrays["signal_offset"] == arrays["offset"]) & ~np.isnan(value)
        factor[known & (value >= np.float64(0.6))] *= 0.5
        hide |= known & (value >= np.float64(hide_at))
    factor[hide] = 0
    return factor


def with_weights(settings: Settings, alpha: float) -> Settings:
    costs = {"hide": 0, "report": 0}
    value = {"quality": alpha, "engagement": 1 - alpha, "max_per_author": None, "costs": costs}
    return settings.fold(b"weights", encode({"value": value}), settings.offset + 1)


def with_gates(settings: Settings, hide_at: float) -> Settings:
    value = {name: {"hide_at": hide_at} for name in NAMES.gates}
    return settings.fold(b"gates/global", encode({"value": value}), settings.offset + 1)


def best_of(runs: int, work: Callable[[int], object]) -> float:
    seconds = []
    for i in range(runs):
        start = time.perf_counter()
        work(i)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def never() -> bool:
    """No time for more than the first feed and a few posts."""
    return False


def cycle(combiner: Combiner) -> list[tuple[str, float]]:
    """The feed as the next cycle hands it out, whole."""
    combiner.work(NOW_MS)
    return list(combiner.take(NOW_MS, never).feeds[0].entries)


def measure(n: int, rng: np.random.Generator) -> None:
    combiner, arrays = fill(n, rng)
    ids = [f"post-{i:08d}" for i in range(n)]
    cycle(combiner)
    factor = bare_gates(arrays, 0.9)
    weights = [with_weights(combiner.settings, 0.2 + 0.01 * i) for i in range(40)]
    gates = [with_gates(weights[0], 0.85 + 0.001 * i) for i in range(40)]

    for i in (0, 39):
        combiner.apply(weights[i])
        alpha = 0.2 + 0.01 * i
        assert cycle(combiner) == bare(arrays, ids, alpha, 1 - alpha, factor), "not the same"

    def ours(i: int) -> None:
        combiner.apply(weights[i % 40])
        cycle(combiner)

    def theirs(i: int) -> None:
        bare(arrays, ids, 0.2 + 0.01 * (i % 40), 0.8 - 0.01 * (i % 40), factor)

    def ours_gates(i: int) -> None:
        combiner.apply(gates[i % 40])
        cycle(combiner)

    def theirs_gates(i: int) -> None:
        bare(arrays, ids, 0.2, 0.8, bare_gates(arrays, 0.85 + 0.001 * (i % 40)))

    runs = 9 if n >= 1_000_000 else 39
    for what, ours_, theirs_ in (
        ("weights", ours, theirs),
        ("gates", ours_gates, theirs_gates),
    ):
        mine, peer = best_of(runs, ours_), best_of(runs, theirs_)
        print(
            f"{n:>10,}  {what:<8}{mine * 1e3:>10.2f}{peer * 1e3:>10.2f}{mine / peer:>8.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="10000,100000,1000000")
    options = parser.parse_args()
    rng = np.random.default_rng(7)
    print(describe())
    print(f"{'posts':>10}  {'changed':<8}{'ours ms':>10}{'numpy ms':>10}{'ratio':>8}   (bar: 2)")
    for size in map(int, options.sizes.split(",")):
        measure(size, rng)


if __name__ == "__main__":
    main()
