"""What a preview costs by the number of posts, once the view is there.

    python benchmarks/bench_preview.py [--sizes 100000,1000000]

A feed of 500 is ranked twice, under the present and under changed settings: weights, the cap, and
gates.  Processor seconds, the median of five; bar: 2 s at a million posts.  Before anything is
timed, both rankings are compared with sorting all posts.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np
from bench_ranking import NAMES, NOW_MS, Engine
from machine import describe

from feedmill.events.decode import encode
from feedmill.events.settings import Settings
from feedmill.operations.preview.feed_preview import preview_feed
from feedmill.operations.preview.view_by_log import forget_changes
from feedmill.rankers.combiner.view import PostView

ROUNDS, SIZE = 5, 500
HOUR_MS = 3_600_000
CHANGES: dict[str, dict[str, object]] = {
    "weights/global": {"quality": 0.1, "engagement": 0.9, "max_per_author": 1},
    "gates/global": {"spam": {"hide_at": 0.3, "demote_at": 0.2}},
}


def changed(settings: Settings) -> Settings:
    for key, value in CHANGES.items():
        settings = settings.fold(key.encode(), encode({"value": value}), settings.offset + 1)
    return settings


def best_by_sorting(view: PostView, settings: Settings) -> list[str]:
    """The ids of `global`, by numpy alone: every post is judged, none is overridden."""
    rows = view.live_rows()
    total = np.zeros(len(rows))
    weights = settings.weights_of("global")
    for name, weight in weights.objectives.items():
        total += weight * weights.scale[name] * view.signals[name].value.values[rows].astype(float)
    for name, gate in settings.gates_of("global").items():
        value = view.signals[name].value.values[rows]
        total[value >= np.float32(gate.demote_at or 2)] *= gate.demote_factor
        total[value >= np.float32(gate.hide_at or 2)] = 0
    with np.errstate(divide="ignore"):
        scores = np.log2(total)
    for name, cost in weights.costs.items():
        scores -= cost * view.signals[name].value.values[rows].astype(float)
    scores += view.post.created_ms[rows] / (24.0 * HOUR_MS)
    found: list[str] = []
    of_author: Counter[int] = Counter()
    for at in np.argsort(-scores).tolist():
        author = view.post.author.item(rows[at])
        of_author[author] += 1
        if of_author[author] <= (weights.max_per_author or SIZE):
            found.append(view.ids[rows[at]])
        if len(found) == SIZE:
            return found
    return found


def measure(posts: int) -> float:
    engine = Engine(posts)
    view, now = engine.combiner.view, Settings(NAMES)
    for number in range(posts):
        engine.post(number)
        if number % 1_000 == 0:
            forget_changes(view)
    forget_changes(view)
    then = changed(now)
    preview = preview_feed(view, "global", now, then, NOW_MS, 20)
    ranked = [post.post_id for post in preview.ranked if post.rank is not None]
    ranked_now = sorted((p.rank_now, p.post_id) for p in preview.ranked if p.rank_now is not None)
    if ranked != best_by_sorting(view, then):
        raise SystemExit("not the best posts under the changed settings")
    if [post_id for _, post_id in ranked_now] != best_by_sorting(view, now):
        raise SystemExit("not the best posts of now")
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        preview_feed(view, "global", now, then, NOW_MS, 20)
        seconds.append(time.process_time() - start)
    return float(np.median(seconds))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="100000,1000000")
    options = parser.parse_args()
    print(describe())
    for size in map(int, options.sizes.split(",")):
        print(f"{size:>9,} posts: a preview of {SIZE} takes {measure(size):.2f} s of processor")


if __name__ == "__main__":
    main()
