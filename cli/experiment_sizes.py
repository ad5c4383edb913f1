"""What `feedmill experiments plan` and `start` are told to size an experiment by."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from feedmill.cli.experiment_file import EXPERIMENT_FILE
from feedmill.cli.options import Command
from feedmill.events.errors import FeedmillError, UsageError
from feedmill.events.experiment import Experiment
from feedmill.events.metric import Metric
from feedmill.experiments.plan import LIST_NOISE, Baseline, Plan, Size, baselines_of, plan_of
from feedmill.experiments.table import read_period


@dataclass(frozen=True)
class SizeOptions:
    """What the metrics are now, by a table or as assumed, and which change is to be found."""

    before: Path | None
    assume: tuple[str, ...]
    effect: float
    list_noise: float

    @property
    def are_given(self) -> bool:
        """Whether anything says what the metrics are now."""
        return self.before is not None or bool(self.assume)

    def plan(self, experiment: Experiment, users_a_day: float | None = None) -> Plan:
        """Size the primary metric and every guardrail.

        Raises
        ------
        UsageError
            Nothing says what one of them is now, or what says it cannot be read.
        """
        sizes = {"effect": self.effect, "list_noise": self.list_noise}
        return plan_of(experiment, self.baselines(experiment), users_a_day=users_a_day, **sizes)

    def baselines(self, experiment: Experiment) -> dict[str, Baseline]:
        """Return what the metrics are now; raises what `plan` raises."""
        baselines = _assumed(self.assume, experiment.all_metrics)
        if self.before is not None:
            table = read_period(self.before, experiment)
            baselines = {**baselines_of(table, experiment), **baselines}
        wanted = (experiment.primary, *experiment.guardrails)
        missing = [name for name in wanted if name not in baselines]
        if missing:
            raise UsageError(
                f"nothing says what {', '.join(missing)} is now; give --before TABLE or --assume"
                f" {missing[0]}=VALUE:SD"
            )
        return baselines


def size_options(command: Command) -> Command:
    """Give a command `--before`, `--assume` and `--effect`, as `sizing: SizeOptions`."""

    @click.option(
        "--before",
        type=EXPERIMENT_FILE,
        help="A table of users in one window before: CSV or Parquet.",
    )
    @click.option(
        "--assume",
        multiple=True,
        metavar="METRIC=VALUE[:SD]",
        help="A metric's value and the deviation of a user, instead of a table.",
    )
    @click.option(
        "--effect",
        type=click.FloatRange(0, 10, min_open=True),
        default=0.05,
        show_default=True,
        help="The relative change of the primary metric that is to be found.",
    )
    @click.option(
        "--list-noise",
        type=click.FloatRange(0, 1),
        default=LIST_NOISE,
        show_default=True,
        help="By which part the lists of a day are better or worse by chance.",
    )
    @functools.wraps(command)
    def wrapped(*args: object, **options: Any) -> Any:
        sizing = SizeOptions(
            **{field.name: options.pop(field.name) for field in fields(SizeOptions)}
        )
        return command(*args, sizing=sizing, **options)

    return wrapped


def check_sizes(found: Plan) -> None:
    """Raise `FeedmillError` where the planned users do not show the effect or a margin."""
    if found.too_small:
        raise FeedmillError(
            f"{found.planned_n:,} users an arm do not show "
            + "; ".join(_remedy(size) for size in found.too_small)
        )


def _assumed(words: tuple[str, ...], metrics: dict[str, Metric]) -> dict[str, Baseline]:
    found = {}
    for word in words:
        name, _, numbers = word.partition("=")
        value, _, deviation = numbers.partition(":")
        try:
            if name not in metrics:
                raise ValueError
            needs_deviation = metrics[name].per != "reader"
            baseline = Baseline(float(value), float(deviation) if needs_deviation else 0.0)
            if not (baseline.value > 0 and baseline.deviation >= 0):
                raise ValueError
            found[name] = baseline
        except ValueError:
            raise UsageError(
                f"--assume {word}: expected METRIC=VALUE:SD, or METRIC=VALUE of a metric per"
                f" reader, with one of {', '.join(metrics)}"
            ) from None
    return found


def _remedy(size: Size) -> str:
    needed = f"plan {math.ceil(size.users):,}" if size.users < 1e10 else "plan more"
    what = "a margin" if size.role == "guardrail" else "a change"
    return (
        f"{what} of {size.change:.1%} in {size.metric}: {needed}, or take {size.least_change:.1%}"
    )
