"""Judges and rankers as queues with the measured costs: how busy, how late, and how many it takes.

    python benchmarks/simulate_scaling.py [--seconds 5] [--seed 1]

Nothing is run but numpy.  Each process works in cycles: it takes what has come, at most so many
records, and is busy for what they cost; what a judge wrote comes to all rankers when its cycle
ends.  Posts come by Poisson, engagements by Zipf's law on live posts, partitions and shards by
hash.  A ranker pays for a post that changed often in one cycle once.  Beside it stands the
arithmetic of docs/scaling.md, which knows no cycles and no chance.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Ids = NDArray[np.int64]

BATCH = 2_000
# Of the work on lists the part that is in one shard, whatever their number: that of `global`.
GLOBAL_SHARE = 0.05


@dataclass(frozen=True)
class Costs:
    """Processor time in µs.

    Attributes
    ----------
    judged, engagement
        Of a post that a judge scores, and of an engagement that it counts, with what is written.
    near_copy
        Of a post of another judge, which it reads for near copies.
    read
        Of a post that a ranker reads.
    changed, lists
        Of a change in each ranker, and of the lists, fields and commands that rankers share out.
    cycle
        Of a cycle whatever it brings.
    """

    judged: float = 80.0
    engagement: float = 23.0
    near_copy: float = 10.0
    read: float = 25.0
    changed: float = 8.3
    lists: float = 48.0
    cycle: float = 1_000.0


@dataclass(frozen=True)
class Load:
    """What comes a second, and on how many live posts."""

    posts: int
    engagements: int
    live: int = 1_000_000


@dataclass(frozen=True)
class Found:
    """The part of a processor that the busiest judge and ranker take, and how late changes are."""

    judge: float
    ranker: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0


def arithmetic(load: Load, costs: Costs, judges: int, rankers: int, changes: float) -> Found:
    """Return how busy they are, by means; `changes` are those of posts a second in a ranker."""
    own = load.posts / judges
    judge = own * costs.judged + (load.posts - own) * costs.near_copy
    judge += load.engagements / judges * costs.engagement
    share = GLOBAL_SHARE + (1 - GLOBAL_SHARE) / rankers
    ranker = load.posts * costs.read + changes * (costs.changed + costs.lists * share)
    return Found(judge / 1e6, ranker / 1e6)


class _Queue:
    """One process: events with their costs come in, and leave when their cycle ends."""

    def __init__(self, at_s: Times, posts: Ids, cost_us: Times) -> None:
        order = np.argsort(at_s, kind="stable")
        self.at_s, self.posts, self.cost_us = at_s[order], posts[order], cost_us[order]
        self.order = order

    def run(self, cycle_us: float, shared_us: float = 0.0) -> tuple[Times, float]:
        """Return when each event was dealt with, and for how many seconds it worked on them.

        `shared_us` is paid once for each post of a cycle.  What cycles cost by themselves is only
        waited for: a process that has time makes more of them.
        """
        done = np.empty(len(self.at_s))
        now = busy = 0.0
        begin = 0
        while begin < len(done):
            now = max(now, float(self.at_s[begin]))
            come = int(np.searchsorted(self.at_s, now, "right"))
            end = min(come, begin + BATCH)
            us = float(self.cost_us[begin:end].sum())
            if shared_us:
                us += shared_us * len(np.unique(self.posts[begin:end]))
            busy += us / 1e6
            now += (us + cycle_us) / 1e6
            done[begin:end] = now
            begin = end
        in_order = np.empty_like(done)
        in_order[self.order] = done
        return in_order, busy


def simulate(
    load: Load, costs: Costs, judges: int, rankers: int, seconds: float, rng: np.random.Generator
) -> tuple[Found, float]:
    """Return how busy and how late they are, and how many changes a second a ranker paid for."""
    count = rng.poisson(load.posts * seconds), rng.poisson(load.engagements * seconds)
    post_at, touch_at = (np.sort(rng.uniform(0, seconds, n)) for n in count)
    new = np.arange(count[0], dtype=np.int64) + load.live
    weights = np.cumsum(1 / np.arange(1, load.live + 1))
    touched = np.searchsorted(weights, rng.uniform(0, weights[-1], count[1])).astype(np.int64)
    at_s, posts = np.concatenate([post_at, touch_at]), np.concatenate([new, touched])
    is_new = np.arange(len(posts)) < count[0]
    # Whose partition a post is: drawn by hash, as murmur2 does.
    owner = (posts * 2_654_435_761 >> 7) % (8 * judges) % judges
    judged_at = np.empty(len(posts))
    busiest_judge = 0.0
    for judge in range(judges):
        mine = owner == judge
        cost = np.where(is_new, costs.judged, costs.engagement)
        read = is_new & ~mine
        queue = _Queue(
            np.concatenate([at_s[mine], at_s[read]]),
            np.concatenate([posts[mine], posts[read]]),
            np.concatenate([cost[mine], np.full(read.sum(), costs.near_copy)]),
        )
        done, busy = queue.run(costs.cycle)
        judged_at[mine] = done[: mine.sum()]
        busiest_judge = max(busiest_judge, busy)
    # A judge writes one signal of a post for all that a cycle brought of it.
    _, written = np.unique(np.stack([judged_at, posts]), axis=1, return_index=True)
    read_us = np.where(is_new[written], costs.read, 0.0)
    delays, busiest_ranker, changes = np.zeros(len(written)), 0.0, 0.0
    for ranker in range(rankers):
        share = (1 - GLOBAL_SHARE) / rankers + (GLOBAL_SHARE if ranker == 0 else 0.0)
        shared_us = costs.changed + costs.lists * share
        queue = _Queue(judged_at[written], posts[written], read_us)
        done, busy = queue.run(costs.cycle, shared_us)
        delays = np.maximum(delays, done - at_s[written])
        if busy > busiest_ranker:
            busiest_ranker = busy
            cycles = np.stack([done, posts[written]])
            changes = np.unique(cycles, axis=1).shape[1] / seconds
    p50, p99 = np.percentile(delays * 1000, [50, 99]).tolist()
    found = Found(busiest_judge / seconds, busiest_ranker / seconds, p50, p99)
    return found, changes


FEW, MANY = Costs(), Costs(changed=8.6, lists=89.0)
TABLE = (
    ("1,011 feeds", FEW, Load(500, 5_000), ((1, 1), (2, 2), (4, 4))),
    ("1,011 feeds", FEW, Load(1_000, 20_000), ((1, 1), (2, 1), (2, 2), (4, 2))),
    ("11,011 feeds", MANY, Load(500, 50_000), ((2, 4), (4, 8), (4, 12))),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(
        "| feeds | posts/s | engagements/s | judges | rankers | changes/s | busiest judge,"
        " arithmetic | busiest ranker, arithmetic | p50 ms | p99 ms |"
    )
    print(f"|---|{'--:|' * 9}")
    for feeds, costs, load, sizes in TABLE:
        for judges, rankers in sizes:
            rng = np.random.default_rng(options.seed)
            found, changes = simulate(load, costs, judges, rankers, options.seconds, rng)
            wanted = arithmetic(load, costs, judges, rankers, changes)
            print(
                f"| {feeds} | {load.posts:,} | {load.engagements:,} | {judges} | {rankers} |"
                f" {changes:,.0f} | {found.judge:.2f}, {wanted.judge:.2f} |"
                f" {found.ranker:.2f}, {wanted.ranker:.2f} | {found.p50_ms:,.0f} |"
                f" {found.p99_ms:,.0f} |"
            )


if __name__ == "__main__":
    main()
