"""What a finished experiment on dials says: the Pareto front of its arms, and which one to set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import msgspec
import numpy as np

from feedmill.events.errors import UsageError
from feedmill.events.experiment import Experiment
from feedmill.experiments.checks import Check, ExperimentRecord, FeedWeights
from feedmill.experiments.dials import arms_of, pairs_text, patch_at, places
from feedmill.experiments.report import MIN_DAYS, TOO_FEW_DAYS, Report
from feedmill.experiments.table import UserTable
from feedmill.experiments.tune_effects import (
    Changes,
    changes_in,
    objectives_of,
    off_front,
    on_front,
    signs_of,
)

# Arms nearer than so many doublings are not worth an experiment of their own.
_NEAREST = 0.1
# Where lists of one day and the next correlate so much, intervals lack the long run too often.
_MOST_ALIKE = 0.3
_ANALYSE = "`feedmill experiments analyse` compares such arms"


@dataclass(frozen=True)
class ArmChange:
    """What an arm changes in an objective, in parts of the control's value, with its interval.

    NaN where an arm or the control counted nothing.
    """

    metric: str
    change: float
    lower: float
    upper: float

    @property
    def is_known(self) -> bool:
        return math.isfinite(self.upper)

    def __str__(self) -> str:
        bounds = f"{self.change:+.1%} ({self.lower:+.1%} to {self.upper:+.1%})"
        return bounds if self.is_known else "not known"


@dataclass(frozen=True)
class FrontArm:
    """An arm that ran.

    Attributes
    ----------
    weights, places
        In what it differs from the feed's settings, and where it stands on each dial that moved.
    changes
        Against the control, in the order of the objectives; () for the control.
    on_front, is_on_front
        In which part of draws no other arm was as good in every objective; False if the intervals
        of all pairs of arms show that another arm is.
    why_not
        Why it is not to be set; "" for one that may be.
    """

    name: str
    weights: Mapping[str, Any]
    places: Mapping[str, float]
    changes: tuple[ArmChange, ...]
    on_front: float
    is_on_front: bool
    why_not: str


@dataclass(frozen=True)
class Front:
    """All that is said of an experiment; `arms` is empty where a check failed."""

    name: str
    checks: tuple[Check, ...]
    conclusion: str
    arms: tuple[FrontArm, ...] = ()
    recommended: str = ""
    commands: tuple[str, ...] = ()
    following: Mapping[str, Any] | None = None
    everybody: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the front for JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def front_of(
    report: Report, table: UserTable, experiment: Experiment, record: ExperimentRecord
) -> Front:
    """Say which arm to set; `report` is that of `analyse`, whose checks come first.

    Raises
    ------
    UsageError
        The experiment tells nothing of dials, or it runs and has fewer users than were planned.
    """
    if not report.valid:
        return Front(report.name, report.checks, report.conclusion)
    if record.started_ms is not None:
        table = table.of(~(table.first_exposure_ms < record.started_ms))
    weights = _weights_of(experiment, record)
    if experiment.primary not in table.sums_by_day:
        raise UsageError(
            f"Expected columns on_day<n>_{experiment.primary}, got none - in the table; only days"
            " show what other lists do, and `feedmill experiments join` writes them"
        )
    names = [experiment.control.name, *(arm.name for arm in experiment.treatments)]
    changes, smallest = changes_in(table, experiment, names)
    if smallest < experiment.planned_n and not experiment.stopped:
        raise UsageError(
            f"Expected {experiment.planned_n:,} users with complete windows in each arm, got"
            f" {smallest:,} - at `$.planned_n`; the intervals hold for one look, at the planned"
            " size: wait, or stop the experiment and join it again"
        )
    stands = {name: places(weights.arms[name]) for name in names}
    arms = front_arms(experiment, changes, report.days, stands)
    best = best_of(arms, experiment)
    return Front(
        *(report.name, report.checks, _conclusion(best, arms, experiment), tuple(arms), best.name),
        tuple(
            f"feedmill config set weights/{feed} {words} --if-offset {one.offset}"
            for feed, one in record.weights.items()
            if (words := pairs_text(best.weights))
        ),
        _following(best, arms, experiment, weights),
        tuple(_everybody(best, report.name, record)),
    )


def front_arms(
    experiment: Experiment, found: Changes, days: int, stands: Mapping[str, Mapping[str, float]]
) -> list[FrontArm]:
    """Return the control and the arms with these changes, which got users on so many days."""
    signs = signs_of(experiment)
    shares, off = on_front(found, signs), off_front(found, signs)
    control, *others = stands.values()
    moved = [d for d in control if any(abs(one[d] - control[d]) > 1e-9 for one in others)]
    arms = []
    for place, arm in enumerate((experiment.control, *experiment.treatments)):
        changes = tuple(_changes(experiment, found, place - 1)) if place else ()
        arms.append(
            FrontArm(
                *(arm.name, arm.weights, {dial: stands[arm.name][dial] for dial in moved}, changes),
                float(shares[place]),
                not off[place],
                _why_not(experiment, changes, days, found.alike) if place else "",
            )
        )
    return arms


# --- what is refused --------------------------------------------------------------------------


def _weights_of(experiment: Experiment, record: ExperimentRecord) -> FeedWeights:
    """Return the weights of the arms, which must be alike in all feeds, and differ on dials."""
    for place, arm in enumerate(experiment.arms):
        fields = [f"weights.{one}" for one in ("max_per_author", "explore") if one in arm.weights]
        for field in [*fields, *(f"gates.{gate}" for gate in arm.gates)]:
            raise UsageError(
                "Expected arms that differ on dials, got a gate or a cap - at"
                f" `$.arms[{place}].{field}`; {_ANALYSE}"
            )
    if not record.weights or {*record.weights} != {*experiment.feeds}:
        raise UsageError(
            "Expected the weights of the arms in every feed, got others - at `$.weights` of the"
            " record; `feedmill experiments join --record` writes it anew"
        )
    first, found = next(iter(record.weights.items()))
    needed = [experiment.control.name, *(arm.name for arm in experiment.treatments)]
    for feed, one in record.weights.items():
        at = f" - at `$.weights.{feed}` of the record;"
        missing = [name for name in needed if name not in one.arms]
        if missing:
            raise UsageError(
                f"Expected the weights of every arm, got none of {', '.join(missing)} - at"
                f" `$.weights.{feed}.arms` of the record; `feedmill experiments join --record`"
                " writes it anew"
            )
        if one.changed:
            raise UsageError(
                f"Expected the same weights from start to end, got a change{at} who came before"
                " saw other lists: start a new experiment"
            )
        if one.arms != found.arms:
            raise UsageError(
                f"Expected the weights of `{first}`, got others{at} one dial cannot be read off"
                " two feeds: run an experiment for each"
            )
    _check_dials(experiment, found.arms)
    return found


def _check_dials(experiment: Experiment, arms: Mapping[str, Mapping[str, Any]]) -> None:
    copies = {arm.name for arm in experiment.arms if arm.control_copy}
    stands = {name: places(value) for name, value in arms.items() if name not in copies}
    for (one, of_one), (other, of_other) in combinations(stands.items(), 2):
        for dial in sorted(of_one.keys() ^ of_other.keys()):
            raise UsageError(
                f"Expected a value above 0 on each dial, got 0 or null in {one!r} or {other!r} - at"
                f" `$.arms[…].weights.{dial}`; {_ANALYSE}"
            )
        if all(abs(of_one[dial] - of_other[dial]) < 1e-9 for dial in of_one):
            raise UsageError(
                f"Expected arms that rank apart, got {one!r} and {other!r}, whose objectives differ"
                " by a common factor - at `$.arms[…].weights`; only their ratio moves a list, so"
                " give one of them another ratio"
            )


# --- what is said -----------------------------------------------------------------------------


def _changes(experiment: Experiment, found: Changes, arm: int) -> Iterator[ArmChange]:
    for place, name in enumerate(objectives_of(experiment)):
        bounds = [one[arm, place] for one in (found.estimates, found.lower, found.upper)]
        yield ArmChange(name, *np.expm1(bounds).tolist())


def _gains(experiment: Experiment, one: ArmChange) -> tuple[float, float, float]:
    """Return a change as a gain: the least, itself, and the most within its interval."""
    if experiment.all_metrics[one.metric].better == "more":
        return one.lower, one.change, one.upper
    return -one.upper, -one.change, -one.lower


def _why_not(experiment: Experiment, changes: Sequence[ArmChange], days: int, alike: float) -> str:
    """Return what keeps an arm from being set, "" for nothing."""
    # A bound that is not known is no bound.
    if not _gains(experiment, changes[0])[0] > 0:
        return f"{changes[0].metric} is not shown to be better"
    for one in changes[1:]:
        margin = experiment.guardrails.get(one.metric)
        if margin is not None and not _gains(experiment, one)[0] >= -margin:
            return f"{one.metric} is not shown to stay within its margin of {margin:.0%}"
    if days < MIN_DAYS:
        return TOO_FEW_DAYS.format(days=days)
    if alike < _MOST_ALIKE:
        return ""
    return (
        f"from day to day lists correlate by {alike:.1f}, so these days may not tell the long run"
    )


def best_of(arms: Sequence[FrontArm], experiment: Experiment) -> FrontArm:
    """Return the arm to set: the control where none may be."""
    allowed = [arm for arm in arms[1:] if not arm.why_not]
    return max(allowed, key=lambda arm: _gains(experiment, arm.changes[0])[1], default=arms[0])


def _conclusion(best: FrontArm, arms: Sequence[FrontArm], experiment: Experiment) -> str:
    if best.changes:
        return (
            f"Set {best.name}: {best.changes[0].metric} {best.changes[0]} for its readers, and"
            " every guardrail is within its margin."
        )
    reached = [_gains(experiment, arm.changes[0])[2] for arm in arms[1:]]
    reasons = "; ".join(f"{arm.name}: {arm.why_not}" for arm in arms[1:])
    most = f"No arm can be better by more than {max(*reached, 0):.1%}."
    return f"Keep the control: {reasons}. {most if np.isfinite(reached).all() else ''}".rstrip()


def _following(
    best: FrontArm, arms: Sequence[FrontArm], experiment: Experiment, weights: FeedWeights
) -> dict[str, Any] | None:
    """Return the next experiment: half way to the best arm's neighbours, or beyond an edge."""
    control, patches = arms[0], []
    own = [d for d in best.places if abs(best.places[d] - control.places[d]) > 1e-9]
    for dial in own or best.places:
        others = [one for one in best.places if one != dial]
        there = [arm for arm in arms if all(arm.places[d] == best.places[d] for d in others)]
        line = sorted({arm.places[dial] for arm in (control, *there)})
        at = line.index(best.places[dial])
        for step in (-1, 1):
            place = 2 * line[at] - line[at - step] if not 0 <= at + step < len(line) else 0.0
            place = place or (line[at] + line[at + step]) / 2
            if abs(place - line[at]) >= _NEAREST:
                patches.append((dial, patch_at(weights.arms[best.name], dial, place)))
    if not patches:
        return None
    kept = msgspec.to_builtins(experiment)
    same = {name: kept[name] for name in kept if name not in {"arms", "salt", "stopped"}}
    return {"arms": arms_of(patches), **same, "salt": f"{experiment.salt}-next"}


def _everybody(best: FrontArm, name: str, record: ExperimentRecord) -> Iterator[str]:
    """Yield what everybody may get instead, a sentence each."""
    for feed, one in record.weights.items():
        if one.share is None:
            yield f"Impressions do not say their feed: nobody knows where posts of {feed} are seen."
        elif one.share >= 0.5:
            yield (
                f"{feed} has {one.share:.0%} of the impressions of its posts, so it is their main"
                " source of counts: everybody may get something else, even of another sign. In"
                " simulated worlds a half-life of 96 h gave an arm's readers +2.4 % and everybody"
                " -2.9 %."
            )
        else:
            yield (
                f"{feed} has {one.share:.0%} of the impressions of its posts: others bring most of"
                " their counts. In simulated worlds an arm then was within 2 points of everybody."
            )
    if best.weights:
        yield (
            f"What everybody gets is measured by `feedmill tune half 'community:*' {name}.json"
            f" {best.name}` before, and by `feedmill tune after` when it is set."
        )
