"""What an arm says, what everybody gets, and what `tune half` and `after` find: **simulated**.

    python benchmarks/tune_worlds.py [--worlds 20] [--days 16] [--beside] [--tired] [--after]

Worlds of `closed_loop.py` through the combiner.  Each setting runs as an arm among arms, for
everybody, and in half of the communities; the first two days are left out.  `global` is alone, or
with `--beside` one feed beside eight communities.  `--tired`: readers who tire of old posts.
`--after`: worlds twice as long, with the change in the middle, and as many without a change.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from closed_loop import POSTS_A_ROUND, START_MS, Floats, Loop, SimulatedPosts, engaged
from machine import describe

from feedmill.events.decode import encode
from feedmill.experiments.effects import Moments
from feedmill.experiments.tune_after import AfterChange, after_change
from feedmill.experiments.tune_effects import Changes, changes_of, levels
from feedmill.simulation.post_writer import COMMUNITIES

# Half an hour: a world of 16 days takes some 10 s of processor.
ROUND_MS = 1_800_000
DAY = 86_400_000 // ROUND_MS
BURN_DAYS = 2
COSTS = (18.0, 4.0)
CONTROL: Mapping[str, Any] = {}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "half-life 96 h": {"half_life_hours": 96},
    "half-life 6 h": {"half_life_hours": 6},
    "beta x 4": {"engagement": 2.0},
}
HOMES = [f"community:{name}" for name in COMMUNITIES]


class TunedLoop(Loop):
    """A world in which feeds have weights of their own, from some round on.

    Attributes
    ----------
    days
        By feed, for each day, readers, engaged impressions, impressions, and the sums of squares
        and products of the two: (days, 6).
    """

    def __init__(self, world: SimulatedPosts, readers: Mapping[str, int], *, tired: bool) -> None:
        super().__init__(world, COSTS)
        self._readers, self._tired = readers, tired
        days = -(-world.rounds // DAY)
        self.days = {feed: np.zeros((days, 6)) for feed in readers}

    def set(self, feed: str, patch: Mapping[str, Any], *, is_new: bool = False) -> None:
        """Give a feed weights of its own; one that is new has all posts."""
        base = {"quality": 0.5, "engagement": 0.5, "costs": {"report": COSTS[0], "hide": COSTS[1]}}
        for key, value in ((f"feeds/{feed}", {}), (f"weights/{feed}", {**base, **patch})):
            if is_new or key.startswith("weights"):
                record = encode({"value": value})
                self.settings = self.settings.fold(key.encode(), record, self.settings.offset + 1)
        self.combiner.apply(self.settings)

    def run_tuned(self, change_at: int = 0, changed: Mapping[str, Mapping[str, Any]] = {}) -> None:
        """Run all rounds; from `change_at` on these feeds have these weights."""
        for number in range(self.world.rounds):
            now_ms = START_MS + number * ROUND_MS
            if number == change_at:
                for feed, patch in changed.items():
                    self.set(feed, patch)
            first = number * POSTS_A_ROUND
            self._publish(range(first, first + POSTS_A_ROUND), now_ms)
            self._follow(now_ms)
            seen: set[int] = set()
            for feed, readers in self._readers.items():
                if feed in self.combiner.feeds:
                    shown = self.top(feed)
                    taken = engaged(self.react(shown, readers, now_ms)).sum(axis=1)
                    sums = (readers, taken.sum(), readers * len(shown), taken @ taken)
                    more = (readers * len(shown) ** 2, taken.sum() * len(shown))
                    self.days[feed][number // DAY] += [*sums, *more]
                    seen |= set(shown)
            self._signal(sorted(seen), number + 1, now_ms)

    def click_rates(self, shown: Sequence[int], now_ms: int) -> Floats:
        rates = super().click_rates(shown, now_ms)
        if not self._tired:
            return rates
        ages_h = [(now_ms - self.world.posts[one].created_at_ms) / 3_600_000 for one in shown]
        return rates * (0.4 + 0.6 * 2.0 ** (-np.array(ages_h) / 3))


def changes_between(loop: TunedLoop, feeds: Sequence[str]) -> Changes:
    """Return the changes of these feeds against the first, by user and day."""
    days = np.stack([loop.days[feed][BURN_DAYS:] for feed in feeds])
    sums = days.sum(axis=1)
    products = np.empty((len(feeds), 2, 2))
    products[:, 0, 0], products[:, 1, 1] = sums[:, 3], sums[:, 4]
    products[:, 0, 1] = products[:, 1, 0] = sums[:, 5]
    values, covariances = levels(Moments.of_sums(sums[:, 0], sums[:, 1:3], products), [2])
    # What each day adds to the logarithm of a level, less the control's.
    away = days[..., 1] / sums[:, [1]] - days[..., 2] / sums[:, [2]]
    between = away[1:] - away[0]
    count = between.shape[1]
    by_day = (between**2).sum(axis=1) * count / (count - 1)
    by_user = covariances[1:, 0, 0] + covariances[0, 0, 0]
    noise = np.maximum(by_day - by_user, 0.0)
    freedom = (count - 1) * ((by_user + noise) / by_day) ** 2
    return changes_of(values, covariances, noise[:, None], freedom[:, None])


def level(loop: TunedLoop, feeds: Sequence[str], first: int = BURN_DAYS) -> float:
    """Return the logarithm of engaged impressions over impressions of these feeds."""
    sums = sum(loop.days[feed][first:].sum(axis=0) for feed in feeds)
    return float(np.log(sums[1] / sums[2]))


def arms_run(world: SimulatedPosts, readers: Mapping[str, int], *, tired: bool) -> Changes:
    """Run all settings as arms of `global`: feeds of all posts, which share its readers."""
    arms = [f"arm-{number}" for number in range(len(SETTINGS) + 1)]
    each = {arm: readers["global"] // len(arms) for arm in arms}
    loop = TunedLoop(
        world, {**{f: n for f, n in readers.items() if f != "global"}, **each}, tired=tired
    )
    for arm, patch in zip(arms, [CONTROL, *SETTINGS.values()], strict=True):
        loop.set(arm, patch, is_new=True)
    loop.run_tuned()
    return changes_between(loop, arms)


def ran(
    world: SimulatedPosts,
    readers: Mapping[str, int],
    changed: Mapping[str, Mapping[str, Any]],
    *,
    tired: bool,
    change_at: int = 0,
) -> TunedLoop:
    """Run a world in which these feeds have these weights."""
    loop = TunedLoop(world, readers, tired=tired)
    loop.run_tuned(change_at, changed)
    return loop


def after_of(loop: TunedLoop, change_day: int, changed: Sequence[str]) -> AfterChange:
    """Return what `tune after` says of a world that changed on this day."""
    found = {
        feed: (
            days[change_day - 14 : change_day, 1:3].T,
            days[change_day + 2 : change_day + 16, 1:3].T,
        )
        for feed, days in loop.days.items()
    }
    return after_change(found, changed)


def part(values: Sequence[float]) -> str:
    """Return the mean of changes with its standard error."""
    mean, error = np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.expm1(mean):+.1%} ± {error:.1%}"


def short_worlds(options: argparse.Namespace, readers: Mapping[str, int]) -> None:
    """Print for each setting what an arm says, and what everybody and a half get."""
    rounds = options.days * DAY
    arms, everybody = list[Floats](), list[list[float]]()
    reach, half = list[Floats](), list[list[float]]()
    homes = [feed for feed in readers if feed != "global"]
    for seed in range(options.first, options.first + options.worlds):
        world = SimulatedPosts(seed, rounds, ROUND_MS)
        found = arms_run(world, readers, tired=options.tired)
        arms.append(found.estimates[:, 0])
        reach.append(found.reach[:, 0])
        base = ran(world, readers, {}, tired=options.tired)
        of_all, of_half = [], []
        for patch in SETTINGS.values():
            whole = ran(world, readers, {"global": patch}, tired=options.tired)
            of_all.append(level(whole, ["global"]) - level(base, ["global"]))
            if homes:
                drawn = homes[seed % 2 :: 2]
                some = ran(world, readers, dict.fromkeys(drawn, patch), tired=options.tired)
                rest = [feed for feed in homes if feed not in drawn]
                own = level(some, drawn) - level(base, drawn)
                of_half.append(own - level(some, rest) + level(base, rest))
        everybody.append(of_all)
        half.append(of_half)
        print(
            f"world {seed}: arms {np.round(arms[-1], 3)} ± {np.round(reach[-1], 3)},"
            f" all {np.round(of_all, 3)}, half {np.round(of_half, 3)}",
            file=sys.stderr,
            flush=True,
        )
    seen = np.array(arms)
    others = (seen.sum(axis=0) - seen) / max(len(seen) - 1, 1)
    covered = (np.abs(seen - others) <= np.array(reach)).mean(axis=0)
    print(
        "| setting | arm | other worlds' mean covered | everybody | half |\n|---|--:|--:|--:|--:|"
    )
    for place, name in enumerate(SETTINGS):
        in_half = part([one[place] for one in half]) if homes else "-"
        print(
            f"| {name} | {part(seen[:, place].tolist())} | {covered[place]:.0%} |"
            f" {part([one[place] for one in everybody])} | {in_half} |"
        )


def after_worlds(options: argparse.Namespace, readers: Mapping[str, int]) -> None:
    """Print what `tune after` says of worlds with and without a change in their middle."""
    change_day, rounds = BURN_DAYS + 14, (BURN_DAYS + 30) * DAY
    homes = [feed for feed in readers if feed != "global"]
    changed = homes[::2] or ["global"]
    for name, patch in {"no change": CONTROL, **(SETTINGS if options.settings else {})}.items():
        found = []
        for seed in range(options.first, options.first + options.worlds):
            world = SimulatedPosts(seed, rounds, ROUND_MS)
            loop = ran(
                world,
                readers,
                dict.fromkeys(changed, patch),
                tired=options.tired,
                change_at=change_day * DAY,
            )
            found.append(after_of(loop, change_day, changed))
            one = found[-1]
            print(
                f"{name}, world {seed}: {one.change:+.1%} ({one.lower:+.1%} to {one.upper:+.1%})",
                file=sys.stderr,
                flush=True,
            )
        zero = np.mean([one.lower <= 0 <= one.upper for one in found])
        size = part([float(np.log1p(one.change)) for one in found])
        print(f"| {name} | {', '.join(changed)[:40]} | {size} | covers 0 in {zero:.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first world's seed")
    parser.add_argument("--days", type=int, default=16)
    parser.add_argument("--readers", type=int, default=400, help="a round, of `global`")
    parser.add_argument("--beside", action="store_true")
    parser.add_argument("--tired", action="store_true")
    parser.add_argument("--after", action="store_true")
    parser.add_argument("--settings", action="store_true", help="with --after: changes, too")
    options = parser.parse_args()
    readers = {"global": options.readers}
    if options.beside:
        readers = {"global": 104, **dict.fromkeys(HOMES, 50)}
    print(describe())
    (after_worlds if options.after else short_worlds)(options, readers)


if __name__ == "__main__":
    main()
