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
from feedmill.experiments.report import MIN_DAYS, Report
from feedmill.experiments.table import UserTable
from feedmill.experiments.tune_effects import (
    ALPHA,
    Changes,
    changes_in,
    objectives_of,
    on_front,
    signs_of,
)

# Arms nearer than so many doublings are not worth an experiment of their own.
_NEAREST = 0.1


@dataclass(frozen=True)
class ArmChange:
    """What an arm changes in an objective, as parts of the control's value, with its interval.

    The three are None where an arm or the control counted nothing.
    """

    metric: str
    role: str
    change: float | None
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class FrontArm:
    """An arm that ran.

    Attributes
    ----------
    weights
        In what it differs from the feed's settings; {} for the control.
    places
        Where it stands on each dial of the experiment, in doublings.
    changes
        Against the control, in the order of the objectives; () for the control.
    on_front
        In which part of draws no other arm was as good in every objective.
    is_on_front
        False where that is so rare that the arm is off the front.
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

    @property
    def primary(self) -> ArmChange:
        return self.changes[0]


@dataclass(frozen=True)
class Front:
    """All that is said of an experiment; `arms` is empty where a check failed."""

    name: str
    checks: tuple[Check, ...]
    arms: tuple[FrontArm, ...] = ()
    dials: tuple[str, ...] = ()
    recommended: str = ""
    conclusion: str = ""
    commands: tuple[str, ...] = ()
    following: Mapping[str, Any] | None = None
    everybody: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the front for JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return {"front": found.pop("name"), **found}


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
        failed = next(check for check in report.checks if check.state == "failed")
        said = f"Nothing may be concluded: {failed.name}: {failed.found}."
        return Front(report.name, report.checks, conclusion=said)
    if record.started_ms is not None:
        table = table.of(~(table.first_exposure_ms < record.started_ms))
    weights = _weights_of(experiment, record)
    if experiment.primary not in table.sums_by_day:
        raise UsageError(
            f"Expected columns on_day<n>_{experiment.primary}, got none - in the table; only days"
            " show what other lists do, and `feedmill experiments join` writes them"
        )
    names = [experiment.control.name, *(arm.name for arm in experiment.treatments)]
    found = changes_in(table, experiment, names)
    if found.smallest < experiment.planned_n and not experiment.stopped:
        raise UsageError(
            f"Expected {experiment.planned_n:,} users with complete windows in each arm, got"
            f" {found.smallest:,} - at `$.planned_n`; the intervals hold for one look, at the"
            " planned size: wait, or stop the experiment and join it again"
        )
    stands = {name: places(weights.arms[name]) for name in names}
    moved = _moved(stands)
    arms = front_arms(experiment, found.changes, report.days, stands)
    best = best_of(arms, experiment)
    return Front(
        report.name,
        report.checks,
        tuple(arms),
        moved,
        best.name,
        _conclusion(best, arms, experiment),
        tuple(_commands(best, record)),
        _following(best, arms, experiment, weights),
        tuple(_everybody(best, report.name, record)),
    )


def front_arms(
    experiment: Experiment,
    found: Changes,
    days: int,
    stands: Mapping[str, Mapping[str, float]],
) -> list[FrontArm]:
    """Return the control and the arms with these changes, which got users on so many days."""
    shares = on_front(found, signs_of(experiment))
    moved, arms = _moved(stands), list[FrontArm]()
    for place, arm in enumerate((experiment.control, *experiment.treatments)):
        changes = tuple(_changes(experiment, found, place - 1)) if place else ()
        arms.append(
            FrontArm(
                name=arm.name,
                weights=arm.weights,
                places={dial: stands[arm.name][dial] for dial in moved},
                changes=changes,
                on_front=float(shares[place]),
                is_on_front=bool(shares[place] >= ALPHA / len(shares)),
                why_not=_why_not(experiment, changes, days) if place else "",
            )
        )
    return arms


# --- what is refused --------------------------------------------------------------------------


def _weights_of(experiment: Experiment, record: ExperimentRecord) -> FeedWeights:
    """Return the weights of the arms, which must be alike in all feeds, and differ on dials."""
    for place, arm in enumerate(experiment.arms):
        path = f"$.arms[{place}]"
        if any(arm.gates.values()):
            raise _no_dial(f"{path}.gates", "a gate", "`feedmill experiments analyse` compares it")
        for field in {"max_per_author", "explore"} & {*arm.weights}:
            raise _no_dial(
                f"{path}.weights.{field}", "a cap", "`feedmill experiments analyse` compares it"
            )
    if {*record.weights} < {*experiment.feeds} or not record.weights:
        raise UsageError(
            "Expected the weights of the arms in every feed, got none - at `$.weights` of the"
            " record; `feedmill experiments join --record` writes it anew"
        )
    for feed, one in record.weights.items():
        if one.changed:
            raise UsageError(
                f"Expected the same weights from start to end, got a change - at `$.weights.{feed}`"
                " of the record: who came before saw other lists; start a new experiment"
            )
    (first, found), *others = record.weights.items()
    for feed, one in others:
        if one.arms != found.arms:
            raise UsageError(
                f"Expected the weights of `{first}`, got others - at `$.weights.{feed}` of the"
                " record; one dial cannot be read off two feeds: run an experiment for each"
            )
    _check_dials(experiment, found.arms)
    return found


def _no_dial(path: str, what: str, way_out: str) -> UsageError:
    return UsageError(f"Expected arms that differ on dials, got {what} - at `{path}`; {way_out}")


def _check_dials(experiment: Experiment, arms: Mapping[str, Mapping[str, Any]]) -> None:
    copies = {arm.name for arm in experiment.arms if arm.control_copy}
    stands = {name: places(value) for name, value in arms.items() if name not in copies}
    for (one, of_one), (other, of_other) in combinations(stands.items(), 2):
        missing = sorted(of_one.keys() ^ of_other.keys())
        if missing:
            raise UsageError(
                f"Expected a value above 0 on each dial, got 0 or null in {one!r} or {other!r} - at"
                f" `$.arms[…].weights.{missing[0]}`; `feedmill experiments analyse` compares them"
            )
        if all(abs(of_one[dial] - of_other[dial]) < 1e-9 for dial in of_one):
            raise UsageError(
                f"Expected arms that rank apart, got {one!r} and {other!r}, whose objectives differ"
                " by a common factor - at `$.arms[…].weights`; only their ratio moves a list, so"
                " give one of them another ratio"
            )


# --- what is said -----------------------------------------------------------------------------


def _moved(stands: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """Return the dials on which an arm is elsewhere than the control, the first of them."""
    control, *others = stands.values()
    return tuple(
        dial
        for dial, place in control.items()
        if any(abs(one[dial] - place) > 1e-9 for one in others)
    )


def _changes(experiment: Experiment, found: Changes, arm: int) -> Iterator[ArmChange]:
    for place, name in enumerate(objectives_of(experiment)):
        role = "primary" if name == experiment.primary else "named"
        role = "guardrail" if name in experiment.guardrails else role
        bounds = [one[arm, place] for one in (found.estimates, found.lower, found.upper)]
        known = bool(np.isfinite(bounds).all())
        yield ArmChange(name, role, *(math.expm1(one) if known else None for one in bounds))


def _why_not(experiment: Experiment, changes: Sequence[ArmChange], days: int) -> str:
    """Return what keeps an arm from being set, "" for nothing."""
    primary, *others = changes
    edge = _worst(experiment, primary)
    if edge is None or edge <= 0:
        return f"{primary.metric} is not shown to be better"
    for one in others:
        margin = experiment.guardrails.get(one.metric)
        edge = _worst(experiment, one)
        if margin is not None and (edge is None or edge < -margin):
            return f"{one.metric} is not shown to stay within its margin of {margin:.0%}"
    return "" if days >= MIN_DAYS else f"{days} days of entries are not two whole weeks"


def _worst(experiment: Experiment, one: ArmChange) -> float | None:
    """Return the end of an interval that is worse, as a gain."""
    if one.lower is None or one.upper is None:
        return None
    return one.lower if experiment.all_metrics[one.metric].better == "more" else -one.upper


def _gain(experiment: Experiment, one: ArmChange) -> float:
    better = experiment.all_metrics[one.metric].better
    return (one.change or 0.0) * (1 if better == "more" else -1)


def best_of(arms: Sequence[FrontArm], experiment: Experiment) -> FrontArm:
    """Return the arm to set: the control where none may be."""
    control, *others = arms
    allowed = [arm for arm in others if not arm.why_not]
    return max(allowed, key=lambda arm: _gain(experiment, arm.primary), default=control)


def change_text(one: ArmChange) -> str:
    """Return a change with its interval."""
    if one.change is None:
        return "not known"
    return f"{one.change:+.1%} ({one.lower:+.1%} to {one.upper:+.1%})"


def _conclusion(best: FrontArm, arms: Sequence[FrontArm], experiment: Experiment) -> str:
    control, *others = arms
    if best is not control:
        return (
            f"Set {best.name}: {best.primary.metric} {change_text(best.primary)} for its readers,"
            " and every guardrail is within its margin."
        )
    ends = [(arm.primary.lower, arm.primary.upper) for arm in others]
    more = experiment.all_metrics[experiment.primary].better == "more"
    reached = [high if more else -low for low, high in ends if high is not None and low is not None]
    most = f" No arm can be better by more than {max(*reached, 0):.1%}." if reached else ""
    reasons = "; ".join(f"{arm.name}: {arm.why_not}" for arm in others)
    return f"Keep the control: {reasons}.{most}"


def _commands(best: FrontArm, record: ExperimentRecord) -> Iterator[str]:
    if best.weights:
        for feed, one in record.weights.items():
            pairs = pairs_text(best.weights)
            yield f"feedmill config set weights/{feed} {pairs} --if-offset {one.offset}"


def _following(
    best: FrontArm, arms: Sequence[FrontArm], experiment: Experiment, weights: FeedWeights
) -> dict[str, Any] | None:
    """Return the next experiment: half way to the best arm's neighbours, or beyond an edge."""
    control = arms[0]
    patches = []
    for dial in best.places:
        if best is not control and abs(best.places[dial] - control.places[dial]) < 1e-9:
            continue
        others = [one for one in best.places if one != dial]
        line = sorted(
            {
                round(arm.places[dial], 9)
                for arm in arms
                if arm is control
                or all(abs(arm.places[one] - best.places[one]) < 1e-9 for one in others)
            }
            | {round(best.places[dial], 9)}
        )
        at = line.index(round(best.places[dial], 9))
        for step in (-1, 1):
            if 0 <= at + step < len(line):
                place = (line[at] + line[at + step]) / 2
            else:
                place = 2 * line[at] - line[at - step]
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
                " simulated worlds a half-life of 96 h gave an arm's readers +4.5 % and everybody"
                " -3.4 %."
            )
        else:
            yield (
                f"{feed} has {one.share:.0%} of the impressions of its posts: others bring most of"
                " their counts. In simulated worlds an arm then was within 2 points of everybody."
            )
    if not best.weights:
        return
    yield (
        "Its readers share posts and counters with all others. What everybody gets is measured by"
        f" `feedmill tune half 'community:*' {name}.json {best.name}` before, and by `feedmill tune"
        " after` when it is set."
    )
