"""Try challengers of engagement on simulated impressions, seed by seed.

    python -m feedmill.training.evaluation.impression_runs [--seeds 20] [--small] [none shift …]

Each line is one challenger, after a week, against a model of the weeks before.
"""

from __future__ import annotations

import argparse
import math

from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.impressions import Impressions
from feedmill.training.arrays import Values
from feedmill.training.continual.impression_challenger import (
    Window,
    brier,
    challenge_impressions,
    model_of,
)
from feedmill.training.evaluation.impression_simulation import (
    DAY_MS,
    SCENARIOS,
    Scenario,
    Size,
    simulated_impressions,
)
from feedmill.training.fitting.impressions import fit_impressions
from feedmill.training.ranker_recipes import ENGAGEMENT

# Of a normal distribution, one-sided at 0.01.
_DEVIATIONS = 2.33
# Where one user floods a product, each post has few others.
_FEW_SEE_A_POST = Size(posts=8_000, authors=4_000, users=12_000, impressions=5)
_SIZES: dict[Scenario, Size] = {"flood": _FEW_SEE_A_POST, "both": _FEW_SEE_A_POST}
_SMALL = Size(posts=1_500, authors=1_200, users=4_000, impressions=25)
# What really happens: nobody counts the flood as an improvement.
_CLEAN: dict[Scenario, Scenario] = {"flood": "none", "both": "shift"}


def champion_before() -> ExpectedClicks:
    """Return a model of two weeks before anything changed."""
    rows = simulated_impressions("none", 0, Size(posts=3_000), days=14, start_day=-20)
    return model_of(fit_impressions(ENGAGEMENT, rows))


def reference_before() -> Impressions:
    """Return impressions from before the champion's."""
    return simulated_impressions("none", 1, Size(posts=500), days=3, start_day=-40)


def losses_beside(model: ExpectedClicks, champion: ExpectedClicks, rows: Impressions) -> Values:
    """Return how much more a model loses than the champion: (rows,), in [-1, 1]."""
    losses: Values = brier(model, rows) - brier(champion, rows)
    return losses


def main() -> None:
    """Print a line for each seed, and how many challengers were released and worse."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", nargs="*", default=SCENARIOS)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--small", action="store_true", help="a third of the posts and users")
    options = parser.parse_args()
    champion, reference = champion_before(), reference_before()
    for scenario in options.scenarios:
        size = _SMALL if options.small else _SIZES.get(scenario, Size())
        released, worse = 0, 0
        for seed in range(options.seeds):
            rows = simulated_impressions(scenario, seed, size)
            found = challenge_impressions(champion, ENGAGEMENT, Window(rows, 0, DAY_MS), reference)
            text = f"{scenario} {seed}: {found.bets} bets, better {found.better:.3g}"
            if found.fitted is not None:
                clean = simulated_impressions(_CLEAN.get(scenario, scenario), 1_000 + seed, size)
                losses = losses_beside(model_of(found.fitted), champion, clean)
                bound = float(losses.mean() - _DEVIATIONS * losses.std() / math.sqrt(len(losses)))
                released += not found.reason
                worse += not found.reason and bound > 0
                text += f", not worse {found.not_worse:.3g}, clean loss {losses.mean():+.5f}"
            print(f"{text}{found.reason and ': '}{found.reason}", flush=True)
        print(f"{scenario}: {released} of {options.seeds} released, {worse} of them worse")


if __name__ == "__main__":
    main()
