"""What costs of `report` and `hide` do to what readers are shown: a closed loop, **simulated**.

    python benchmarks/closed_loop.py [--seeds 20] [--hours 48] [--costs 0:0,10:2,20:4]

Readers look at the lists that the combiner makes, from the top, and react as the demo's audience
does; the counters, the engagement model and the rates of reactions make signals of that, and the
lists follow.  Every pair of costs (report:hide) runs over the same posts, with other readers, and
is compared with the first pair, seed by seed: the relative change, with its 95 % interval of
Student's t over the seeds.  The first half of the hours is left out.  `two reports` is what two
reports in the first hundred impressions take from a post's value.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from machine import describe
from msgspec import structs
from scipy.special import ndtr
from scipy.stats import t as student

from feedmill.events.decode import encode
from feedmill.events.engagement import EngagementKind
from feedmill.events.post import Post
from feedmill.events.rates import RATES, rate_value
from feedmill.events.settings import Settings
from feedmill.events.signal import Signal, SignalNames
from feedmill.features.counters import LONG_DWELL_MS, Counters, update
from feedmill.features.post_batch import PostBatch
from feedmill.filters.registry import FILTERS
from feedmill.models.text_model import TextModel
from feedmill.rankers.combiner import Combiner
from feedmill.rankers.reaction_rates import rate_steps
from feedmill.rankers.registry import ENGAGEMENT_RANKER, TEXT_RANKERS
from feedmill.simulation.audience import (
    DWELL_SPREAD,
    ETA,
    TRAITS,
    SimulatedPost,
    liking,
    typical_dwell_s,
)
from feedmill.simulation.demo import DemoPosts
from feedmill.simulation.post_writer import COMMUNITIES

Floats = npt.NDArray[np.float64]
NAMES = SignalNames()
START_MS = 1_790_000_000_000
ROUND_MS = 600_000
POSTS_A_ROUND = 12
SLATE = 20
# How many readers a round has in each community, and in `global`.
READERS = {**{f"community:{name}": 50 for name in COMMUNITIES}, "global": 100}
# By how much posts of one kind differ in how often they are hidden and reported: a factor, in log.
SPREAD = 1.0
COSTS: tuple[EngagementKind, ...] = ("report", "hide")
REACTIONS: tuple[EngagementKind, ...] = ("like", "reply", "share")
MEASURES = ("reports", "hides", "taken", "engaged")


@dataclass
class SimulatedPosts:
    """The posts of one seed: what models say of each, and how readers react to it.

    Attributes
    ----------
    signals
        By name, what the filters and `quality` say: (posts,).
    priors
        Of the engagement model: (posts,).
    react
        By kind of reaction its probability, of an examination or of a click: (posts,).
    """

    seed: int
    rounds: int
    round_ms: int = ROUND_MS
    posts: list[Post] = field(default_factory=list)
    signals: dict[str, Floats] = field(default_factory=dict)
    priors: Floats = field(default_factory=lambda: np.zeros(0))
    react: dict[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, 1])
        drawn = DemoPosts(str(self.seed), rng)
        both = [drawn.post(number) for number in range(self.rounds * POSTS_A_ROUND)]
        self.posts = [
            structs.replace(post, created_at_ms=START_MS + number // POSTS_A_ROUND * self.round_ms)
            for number, (post, _) in enumerate(both)
        ]
        batch = PostBatch(self.posts)
        models: list[TextModel] = [spec.load() for spec in FILTERS.values()]
        models += [spec.load() for spec in TEXT_RANKERS.values()]
        self.signals = {model.name: model.score_batch(batch) for model in models}
        self.priors = ENGAGEMENT.prior_batch(batch)
        self.react = _reactions([simulated for _, simulated in both], rng)


def _reactions(posts: Sequence[SimulatedPost], rng: np.random.Generator) -> dict[str, Floats]:
    """Return how readers react to each post, as `Audience` draws it."""
    traits = [TRAITS[post.kind] for post in posts]
    quality = np.array([post.quality for post in posts])
    likings = np.array([liking(post) for post in posts])
    typical_s = np.array([typical_dwell_s(post) for post in posts])
    react = {
        "click": np.array([t.click for t in traits])
        + np.array([t.click_by_quality for t in traits]) * quality,
        "dwell": ndtr(np.log(typical_s * 1000 / LONG_DWELL_MS) / DWELL_SPREAD),
    }
    for kind in REACTIONS:
        react[kind] = np.array([getattr(t, kind) for t in traits]) * likings
    for kind in COSTS:
        factor = np.exp(rng.normal(-(SPREAD**2) / 2, SPREAD, len(posts)))
        react[kind] = np.minimum(np.array([getattr(t, kind) for t in traits]) * factor, 1.0)
    return react


class Loop:
    """One world under one pair of costs.

    Attributes
    ----------
    counted
        Impressions, and what is in `MEASURES`, since the half of the rounds.
    """

    def __init__(self, world: SimulatedPosts, costs: Sequence[float]) -> None:
        self.world = world
        value = {"quality": 0.5, "engagement": 0.5, "costs": dict(zip(COSTS, costs, strict=True))}
        self.settings = Settings(NAMES).fold(b"weights", encode({"value": value}), 0)
        self.combiner = Combiner(NAMES, self.settings)
        self.counted = dict.fromkeys(("impressions", *MEASURES), 0)
        self._rng = np.random.default_rng([world.seed, 2])
        self._counters = [Counters() for _ in world.posts]

    def run(self) -> dict[str, float]:
        """Return each measure per impression."""
        for number in range(self.world.rounds):
            now_ms = START_MS + number * ROUND_MS
            first = number * POSTS_A_ROUND
            self._publish(range(first, first + POSTS_A_ROUND), now_ms)
            self._follow(now_ms)
            seen: set[int] = set()
            for feed, readers in READERS.items():
                if feed in self.combiner.feeds:
                    counts = number * 2 >= self.world.rounds
                    seen |= self._read(feed, readers, now_ms, counts=counts)
            self._signal(sorted(seen), number + 1, now_ms)
        return {name: self.counted[name] / self.counted["impressions"] for name in MEASURES}

    def _publish(self, numbers: Sequence[int], now_ms: int) -> None:
        view = self.combiner.view
        for number in numbers:
            post = self.world.posts[number]
            view.update_post(post, number, now_ms)
            for name, values in self.world.signals.items():
                view.update_signal(name, self._made(name, number, float(values[number]), 0, now_ms))
        self._signal(numbers, 0, now_ms)

    def _made(self, name: str, number: int, value: float, revision: int, now_ms: int) -> Signal:
        rounded = float(np.float32(value))
        post_id = self.world.posts[number].post_id
        return Signal(post_id, number, rounded, name, "1", now_ms, revision=revision)

    def _follow(self, now_ms: int) -> None:
        self.combiner.tick(now_ms)
        self.combiner.work(now_ms)
        self.combiner.take(now_ms)

    def _signal(self, numbers: Sequence[int], revision: int, now_ms: int) -> None:
        """Make the signals of engagement anew, as its stage does."""
        if not numbers:
            return
        counters = [self._counters[number] for number in numbers]
        values = ENGAGEMENT.score_many(self.world.priors[list(numbers)], counters).tolist()
        for number, value, of_post in zip(numbers, values, counters, strict=True):
            of_kinds: dict[str, float] = {"engagement": value}
            for kind in COSTS:
                of_kinds[kind] = rate_value(rate_steps(kind, of_post, RATES[kind]))
            for name, rate in of_kinds.items():
                signal = self._made(name, number, rate, revision, now_ms)
                self.combiner.view.update_signal(name, signal)

    def _read(self, feed: str, readers: int, now_ms: int, *, counts: bool) -> set[int]:
        """Let readers look at the top of a feed; returns the posts that they were shown."""
        shown = self.top(feed)
        given = self.react(shown, readers, now_ms)
        if counts:
            harmed = given["report"] | given["hide"]
            found = (given["report"], given["hide"], given["click"] & ~harmed, engaged(given))
            self.counted["impressions"] += harmed.size
            for name, happened in zip(MEASURES, found, strict=True):
                self.counted[name] += int(happened.sum())
        return set(shown)

    def top(self, feed: str) -> list[int]:
        """Return the posts that readers of a feed are shown, by number."""
        rows, _ = self.combiner.ranking(feed).list.best()
        return [int(self.combiner.view.post.offset[row]) for row in rows[:SLATE]]

    def click_rates(self, shown: Sequence[int], now_ms: int) -> Floats:
        """Return how likely readers who examine these posts click them."""
        return self.world.react["click"][list(shown)]

    def react(
        self, shown: Sequence[int], readers: int, now_ms: int
    ) -> dict[EngagementKind, npt.NDArray[np.bool_]]:
        """Let readers look at posts, and count; returns by kind who did what: (readers, posts)."""
        react = self.world.react
        happens = self._rng.random((8, readers, len(shown)))
        examined = happens[0] < (1.0 + np.arange(len(shown))) ** -ETA
        clicks = examined & (happens[1] < self.click_rates(shown, now_ms))
        given: dict[EngagementKind, npt.NDArray[np.bool_]] = {"click": clicks}
        of_clicks: tuple[EngagementKind, ...] = ("dwell", *REACTIONS)
        for number, kind in enumerate(of_clicks, 2):
            given[kind] = clicks & (happens[number] < react[kind][list(shown)])
        for number, kind in enumerate(COSTS, 6):
            given[kind] = examined & (happens[number] < react[kind][list(shown)])
        for place, post in enumerate(shown):
            counters = self._counters[post]
            update(counters, "impression", now_ms, weight=readers)
            for kind, of_readers in given.items():
                if count := int(of_readers[:, place].sum()):
                    update(counters, kind, now_ms, weight=count)
        return given


def engaged(given: Mapping[EngagementKind, npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    """Return which impressions of (readers, posts) were followed by engagement, and no harm."""
    did = given["dwell"] | given["like"] | given["reply"] | given["share"]
    return did & ~(given["report"] | given["hide"])


def interval(changes: Floats) -> tuple[float, float, float]:
    """Return the mean of (seeds,) changes, and the ends of its 95 % interval."""
    mean, error = changes.mean(), changes.std(ddof=1) / np.sqrt(len(changes))
    half = student.ppf(0.975, len(changes) - 1) * error
    return float(mean), float(mean - half), float(mean + half)


def two_reports(cost: float) -> float:
    """Return what two reports in the first 100 impressions leave of a post's value."""
    steps = []
    for reports in (0, 2):
        counters = Counters()
        update(counters, "impression", START_MS, weight=100)
        if reports:
            update(counters, "report", START_MS, weight=reports)
        steps.append(rate_steps("report", counters, RATES["report"]))
    without, with_two = map(rate_value, steps)
    return float(2.0 ** (-cost * (with_two - without)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--hours", type=float, default=48)
    parser.add_argument("--costs", default="0:0,10:2,20:4,40:8,20:0,0:4")
    options = parser.parse_args()
    arms = [tuple(map(float, pair.split(":"))) for pair in options.costs.split(",")]
    rounds = int(options.hours * 3_600_000 / ROUND_MS)
    rates: dict[tuple[float, ...], list[list[float]]] = {costs: [] for costs in arms}
    for seed in range(options.seeds):
        world = SimulatedPosts(seed, rounds)
        for costs in arms:
            measured = Loop(world, costs).run()
            rates[costs].append([measured[name] for name in MEASURES])
        print(f"seed {seed + 1} of {options.seeds}", file=sys.stderr, flush=True)
    base = np.array(rates[arms[0]])
    print(describe())
    at_base = ", ".join(f"{m:.3%} {n}" for n, m in zip(MEASURES, base.mean(axis=0), strict=True))
    print(f"{options.seeds} seeds of {options.hours:g} h; of impressions {at_base}\n")
    print(f"| report | hide | two reports | {' | '.join(MEASURES)} |")
    print("|--:|--:|--:|" + "--:|" * len(MEASURES))
    for costs in arms[1:]:
        changes = np.array(rates[costs]) / base - 1.0
        cells = [
            "{:+.1%} ({:+.1%} to {:+.1%})".format(*interval(changes[:, column]))
            for column in range(len(MEASURES))
        ]
        kept = two_reports(costs[0]) - 1.0
        print(f"| {costs[0]:g} | {costs[1]:g} | {kept:+.1%} | {' | '.join(cells)} |")


ENGAGEMENT = ENGAGEMENT_RANKER.load()

if __name__ == "__main__":
    main()
