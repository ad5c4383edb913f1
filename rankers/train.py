"""Train rankers: ``python -m feedmill.rankers.train quality engagement --data ../shared/data``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from feedmill.features.artifact import Card
from feedmill.rankers import train_engagement, train_quality

TRAINERS: dict[str, Callable[[Path, Path, str], Card]] = {
    "quality": train_quality.train,
    "engagement": train_engagement.train,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the rankers named on the command line."""
    parser = argparse.ArgumentParser(description="Train rankers from labelled data.")
    parser.add_argument("names", nargs="+", choices=sorted(TRAINERS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "artifacts")
    parser.add_argument("--day", default=None, help="the card's date; today unless given")
    options = parser.parse_args(arguments)
    for name in options.names:
        day = options.day or date.today().isoformat()
        card = TRAINERS[name](options.data, options.out, day)
        print(f"{name}@{card.version}")
        for metric, value in card.metrics.items():
            print(f"  {metric:44} {value:.4f}")


if __name__ == "__main__":
    main()
