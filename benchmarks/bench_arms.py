"""What arms cost a combiner: a feed with none beside one with eight, in turns.

    python benchmarks/bench_arms.py [--posts 100000] [--changes 2000] [--turns 10]

Both have the same live posts and changes: posts that come, engagements, posts that are hidden, of
all posts (`any`) or of those that the feed shows (`shown`).  The processor time is the combiner's,
from what was read to the changes to be written.  Before anything is timed, each arm's list is
compared with that of a feed with its settings.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from bench_combine import NOW_MS, fill
from machine import describe

from feedmill.events.decode import encode
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal
from feedmill.rankers.combiner import Combiner

# By arm its weights and gates: all scores differ, and so do the decisions of one.
ARMS: list[dict[str, Any]] = [
    {"weights": {"quality": 0.1 * number}} for number in range(1, 7) if number != 5
]
ARMS += [{"weights": {"half_life_hours": 6}}, {"gates": {"spam": {"hide_at": 0.7}}}]


def with_setting(settings: Settings, key: str, value: dict[str, Any]) -> Settings:
    return settings.fold(key.encode(), encode({"value": value}), settings.offset + 1)


def with_arms(settings: Settings) -> Settings:
    """Eight arms of one experiment in `global`."""
    arms = [{"name": "control", "share": 1250}]
    arms += [{"name": f"b{n}", "share": 1250, **arm} for n, arm in enumerate(ARMS)]
    fixed = {"feeds": ["global"], "salt": "s", "planned_n": 1000}
    return with_setting(settings, "experiments/one", {"arms": arms, **fixed})


class Workload:
    """Changes, the same for every combiner that takes them."""

    def __init__(self, posts: int) -> None:
        self._posts = posts
        self._new = 0

    def change(self, combiner: Combiner, rng: np.random.Generator, *, is_shown: bool) -> None:
        """One thing becomes true: of ten, six engagements, three posts, one that is hidden."""
        view, kind, number = combiner.view, int(rng.integers(10)), int(rng.integers(500))
        shown = combiner.ranking("global").list.rows
        row = int(shown[number]) if is_shown else int(rng.integers(self._posts))
        post_id, offset = view.ids[row], int(view.post.offset[row])
        if kind < 6:
            value = float(np.float32(rng.beta(1, 30)))
            one = Signal(post_id, offset, value, "engagement", "1", NOW_MS)
            view.update_signal("engagement", one)
        elif kind < 9:
            self._new += 1
            offset, new = self._posts + self._new, f"new-{self._new}"
            view.update_post(Post(new, f"author-{row % 997}", NOW_MS, ""), offset, NOW_MS)
            for name in (*view.names.gates, "quality", "engagement"):
                value = float(np.float32(rng.beta(1, 12)))
                view.update_signal(name, Signal(new, offset, value, name, "1", NOW_MS))
        else:
            view.update_signal("spam", Signal(post_id, offset, 0.95, "spam", "1", NOW_MS))


def timed(
    combiner: Combiner, workload: Workload, changes: int, seed: int, *, is_shown: bool
) -> float:
    """Microseconds of processor a change, each in a cycle of its own."""
    rng = np.random.default_rng(seed)
    took = 0.0
    for _ in range(changes):
        workload.change(combiner, rng, is_shown=is_shown)
        start = time.thread_time()
        combiner.cycle(NOW_MS)
        took += time.thread_time() - start
    return took / changes * 1e6


def check(combiner: Combiner, posts: int) -> None:
    """Each arm's list is that of a feed with its settings, ranked by itself."""
    combiner.rewrite(["global"])
    (change,) = combiner.cycle(NOW_MS).feeds
    assert len(change.arms) == len(ARMS)
    rng = np.random.default_rng(7)
    alone, _ = fill(posts, rng)
    for arm in change.arms:
        settings = Settings(alone.view.names)
        weights, gates = arm.weights.as_dict(), {n: _fields(g) for n, g in arm.gates.items()}
        settings = with_setting(settings, "weights/global", weights)
        alone.apply(with_setting(settings, "gates/global", gates))
        alone.rewrite(["global"])
        [ranked] = [one for one in alone.cycle(NOW_MS).feeds if one.feed == "global"]
        assert list(arm.entries) == list(ranked.entries), arm.feed


def _fields(gate: Any) -> dict[str, Any]:
    return {name: getattr(gate, name) for name in gate.__struct_fields__}


def memory(combiner: Combiner, posts: int) -> float:
    """Bytes a post that scores and decisions of the arms take beside those of the feed."""
    found = combiner._policies
    columns = [scores.score.values.nbytes for scores in found._scores.values()]
    columns += [d.code.values.nbytes + d.factor.values.nbytes for d in found._decisions.values()]
    return sum(columns) / posts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument("--changes", type=int, default=2_000)
    parser.add_argument("--turns", type=int, default=10)
    options = parser.parse_args()
    print(describe())
    combiners = [fill(options.posts, np.random.default_rng(7))[0] for _ in range(2)]
    for combiner in combiners:
        combiner.cycle(NOW_MS)
    plain, armed = combiners
    armed.apply(with_arms(armed.settings))
    armed.cycle(NOW_MS)
    check(armed, options.posts)
    bytes_ = memory(armed, options.posts) - memory(plain, options.posts)
    workloads = [Workload(options.posts) for _ in combiners]
    print(f"{'changes':<10}{'none us':>10}{'eight us':>10}{'ratio':>8}   (bar: 2.5)")
    for is_shown in (False, True):
        took: list[list[float]] = [[], []]
        for turn in range(options.turns + 1):
            for combiner, workload, times in zip(combiners, workloads, took, strict=True):
                times.append(timed(combiner, workload, options.changes, turn, is_shown=is_shown))
        none, eight = (float(np.median(times[1:])) for times in took)
        name = "shown" if is_shown else "any"
        print(f"{name:<10}{none:>10.0f}{eight:>10.0f}{eight / none:>8.2f}", flush=True)
    print(f"bytes a live post for eight arms: {bytes_:.0f} (bar: 120)")


if __name__ == "__main__":
    main()
