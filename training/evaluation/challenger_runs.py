"""Try continual learning on simulated labels, seed by seed: a wave, noise, and poisoned labels.

    python -m feedmill.training.evaluation.challenger_runs [--seeds 20] [--audit 300] [wave none …]

Each line is one challenger of the spam filter against the shipped one, after 200 labels.
"""

from __future__ import annotations

import argparse
import math

from feedmill.events.gates import DEMOTE_AT, HIDE_AT
from feedmill.filters.model import FilterModel
from feedmill.filters.spam import FILTER
from feedmill.training.arrays import Values
from feedmill.training.continual.challenger import Champion, brier, challenge
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation.label_simulation import (
    SCENARIOS,
    audited_rows,
    clean_rows,
    ordinary_posts,
    rated_rows,
)
from feedmill.training.recipes import RECIPES

# Of a normal distribution, one-sided at 0.01.
_DEVIATIONS = 2.33


def paired_losses(model: FilterModel, champion: FilterModel, rows: LabelledPosts) -> Values:
    """Return how much more a model loses than the champion: (rows,), in [-1, 1]."""
    losses: Values = brier(model, rows) - brier(champion, rows)
    return losses


def lower_bound(losses: Values) -> float:
    """Return a bound that the mean exceeds with a probability of 0.99; above 0 it is worse."""
    return float(losses.mean() - _DEVIATIONS * losses.std() / math.sqrt(len(losses)))


def main() -> None:
    """Print a line for each seed, and how many challengers were released and worse."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", nargs="*", default=SCENARIOS)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--audit", type=int, default=0, metavar="N", help="audited posts")
    options = parser.parse_args()
    shipped, ordinary = FILTER.load(), ordinary_posts(5000)
    for scenario in options.scenarios:
        released, worse = 0, 0
        for seed in range(options.seeds):
            rows = rated_rows(scenario, seed)
            audit = audited_rows(scenario, seed, options.audit)
            champion = Champion(shipped, shipped)
            found = challenge(champion, RECIPES["spam"], [], rows, ordinary, audit)
            text = f"{scenario} {seed}: {found.bets} bets, better {found.better:.3g}"
            if found.fitted is not None:
                clean = clean_rows(scenario, 1000 + seed)
                model = found.fitted.model("spam", "0" * 12)
                bound = lower_bound(paired_losses(model, shipped, clean))
                released += not found.reason
                worse += not found.reason and bound > 0
                text += f", not worse {found.not_worse:.3g}, by the audit worse {found.worse:.3g}"
                text += f", clean loss {bound:+.3f} or more"
                text += f", {_caught(model, clean)}"
            print(f"{text}{found.reason and ': '}{found.reason}", flush=True)
        print(f"{scenario}: {released} of {options.seeds} released, {worse} of them worse")


def _caught(model: FilterModel, rows: LabelledPosts) -> str:
    """Say what the model does to what violates, and hides of what is fine."""
    values, violates = model.score_many(rows.posts), rows.labels == 1
    demoted = (values[violates] >= DEMOTE_AT).mean() if violates.any() else 0.0
    hidden = (values[violates] >= HIDE_AT).mean() if violates.any() else 0.0
    fine = (values[~violates] >= HIDE_AT).mean()
    return f"hides {hidden:.2f} and demotes {demoted:.2f} of the wave, hides {fine:.3f} of the rest"


if __name__ == "__main__":
    main()
