"""What must hold before an effect is shown: data, ratio, arms, dose, controls, in this order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from feedmill.events.errors import UsageError
from feedmill.events.experiment import Experiment
from feedmill.events.limits import Name
from feedmill.events.metric import Metric
from feedmill.events.reasons import DECODE_ERRORS, reason_of
from feedmill.experiments.effects import (
    MIN_USERS,
    arm_moments,
    columns_of,
    moments_by_look,
    tuned_at,
)
from feedmill.experiments.moments import contrast
from feedmill.experiments.sequences import Values, radius, ratio_log_e
from feedmill.experiments.table import UserTable

State = Literal["ok", "failed", "unknown"]

# The e-value from which on the users of the arms are not what the shares make.
RATIO_E = 1_000.0
# A control is right in all but one of a hundred experiments without a fault, at every look.
CONTROL_ALPHA = 0.01
# Impressions over served positions may differ by this part for what the arm itself does.
SERVED_MARGIN = 0.02
# Which part of the users may report another arm than was computed.
MISMATCHED = 0.001


class Gap(Struct, frozen=True, forbid_unknown_fields=True):
    """A time of which the record of exposures and engagements lacks something."""

    from_ms: int
    to_ms: int
    what: str = ""


class ExperimentRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of an experiment beside the table of its users.

    Attributes
    ----------
    gaps
        Times that the table lacks; () for none, None where nobody looked.
    overlap
        By arm, which part of the control's top ten its own had, in the mean over the time.
    changes
        Changes of the feeds' weights, gates and models while it ran, each a line.
    """

    gaps: tuple[Gap, ...] | None = None
    overlap: dict[Name, Annotated[float, Meta(ge=0, le=1)]] = {}
    changes: tuple[str, ...] = ()


def decode_record(value: bytes, source: str) -> ExperimentRecord:
    """Return the record of a file's bytes; raise `UsageError` where it is none."""
    try:
        return msgspec.json.decode(value, type=ExperimentRecord)
    except DECODE_ERRORS as error:
        raise UsageError(f"{source}: {reason_of(error)}") from None


@dataclass(frozen=True)
class Check:
    """One thing that must hold, whether it does, and what was found."""

    name: str
    state: State
    found: str


def checks_of(table: UserTable, experiment: Experiment, record: ExperimentRecord) -> list[Check]:
    """Return all checks in the order of the report."""
    return [
        *_data(table, experiment, record),
        *_ratios(table, experiment),
        _served(table, experiment),
        _mismatches(table),
        _dose(experiment, record),
        *_controls(table, experiment),
    ]


def _state(*, failed: bool) -> State:
    return "failed" if failed else "ok"


def _data(table: UserTable, experiment: Experiment, record: ExperimentRecord) -> Iterator[Check]:
    counts = _counts(table.arm, table.complete, experiment)
    least = int(counts.min())
    yield Check(
        "data: users",
        _state(failed=least < MIN_USERS),
        f"{least:,} users with a complete window in the smallest arm, {MIN_USERS:,} are needed"
        " before anything is shown",
    )
    if record.gaps is None:
        yield Check("data: gaps", "unknown", "nobody says whether the record has gaps")
        return
    first = record.gaps[0] if record.gaps else None
    found = (
        "none"
        if first is None
        else f"{len(record.gaps)}, the first from {first.from_ms} to {first.to_ms} {first.what}"
    )
    yield Check("data: gaps", _state(failed=first is not None), found.rstrip())


def _counts(
    arm: NDArray[np.int64], users: NDArray[np.bool_], experiment: Experiment
) -> NDArray[np.int64]:
    return np.bincount(arm[users], minlength=len(experiment.arms))


def _ratios(table: UserTable, experiment: Experiment) -> Iterator[Check]:
    exposed = ~np.isnan(table.first_exposure_ms)
    groups = {
        "assigned": np.ones(len(table.arm), dtype=np.bool_),
        "exposed": exposed,
        "exposed with an impression": exposed & (table.impressions > 0),
        "completed": table.complete,
    }
    for name, users in groups.items():
        counts = _counts(table.arm, users, experiment)
        log_e = float(ratio_log_e(counts, list(experiment.shares.values())))
        shown = " : ".join(f"{count:,}" for count in counts)
        e_value = f"{np.exp(log_e):.3g}" if log_e < 100 else f"e^{log_e:.0f}"
        yield Check(
            f"ratio: {name}",
            _state(failed=log_e >= np.log(RATIO_E)),
            f"{shown}, e-value {e_value} against the configured shares; {RATIO_E:,.0f} stops",
        )


def _served(table: UserTable, experiment: Experiment) -> Check:
    """Compare impressions over served positions; a difference surely beyond the margin fails."""
    columns = np.stack([table.impressions, table.served], axis=1)
    worst, failed = 0.0, ""
    for arm in list(experiment.shares)[1:]:
        low, high, control = _interval(table, experiment, columns, arm)
        least = max(low, -high, 0.0) / control if control else 0.0
        worst = max(worst, least)
        if least > SERVED_MARGIN:
            failed = (
                f"{arm} has {'more' if low > 0 else 'fewer'} impressions for a served position than"
                f" the control, by {least:.1%} or more"
            )
    return Check(
        "ratio: impressions over served positions",
        _state(failed=bool(failed)),
        failed or f"differ between the arms by {worst:.1%} or more; {SERVED_MARGIN:.0%} stops",
    )


def _interval(
    table: UserTable, experiment: Experiment, columns: Values, arm: str
) -> tuple[float, float, float]:
    """Return both bounds of an arm's difference to the control now, and the control's value."""
    place = list(experiment.shares).index(arm)
    counted = table.complete & np.isin(table.arm, (0, place)) & ~np.isnan(columns).any(axis=1)
    pair = np.where(counted, 0, -1)
    moments = moments_by_look(columns, (table.arm > 0).astype(np.int64), pair)
    if len(moments.users) < 2:
        return -np.inf, np.inf, 1.0
    found = contrast(arm_moments(moments, 0), arm_moments(moments, 1))
    tuned = tuned_at(experiment, arm)
    reach = radius(found.standard_error, found.users, tuned=tuned, alpha=CONTROL_ALPHA)[0]
    if np.isnan(reach) or np.isnan(found.estimate[0]):
        return -np.inf, np.inf, 1.0
    low, high = float(found.estimate[0] - reach), float(found.estimate[0] + reach)
    return low, high, float(found.control[0])


def _mismatches(table: UserTable) -> Check:
    exposed = ~np.isnan(table.first_exposure_ms)
    wrong = int((table.arm != table.computed_arm)[exposed].sum())
    users = int(exposed.sum())
    return Check(
        "arms",
        _state(failed=wrong > MISMATCHED * users),
        f"{wrong:,} of {users:,} exposed users report another arm than the assignment gives;"
        f" {MISMATCHED:.1%} stops",
    )


def _dose(experiment: Experiment, record: ExperimentRecord) -> Check:
    arms = [arm.name for arm in experiment.treatments]
    known = {arm: record.overlap[arm] for arm in arms if arm in record.overlap}
    inert = [arm for arm, overlap in known.items() if overlap >= 1.0]
    if inert:
        return Check(
            "dose", "failed", f"{', '.join(inert)}: the top ten is the control's at all times"
        )
    if len(known) < len(arms):
        return Check("dose", "unknown", "the overlap of the arms' top ten was not measured")
    shown = ", ".join(f"{arm} {overlap:.0%}" for arm, overlap in known.items())
    return Check("dose", "ok", f"of the control's top ten the arms have {shown}")


def _controls(table: UserTable, experiment: Experiment) -> Iterator[Check]:
    name = experiment.primary
    metric = experiment.all_metrics[name]
    columns = columns_of(table, name, metric)
    copies = [arm.name for arm in experiment.arms if arm.control_copy]
    if copies:
        yield _control("controls: the copy of the control", table, experiment, columns, copies)
    arms = [arm.name for arm in experiment.arms[1:]]
    if columns.shape[1] > 2:
        before = np.where(columns[:, 4:5] > 0, np.nan, _before(columns, metric))
        yield _control("controls: the outcome before", table, experiment, before, arms)
    else:
        yield Check("controls: the outcome before", "unknown", "the table has no period before")
    if name in table.elsewhere:
        elsewhere = np.stack([table.elsewhere[name], np.ones(len(table.arm))], axis=1)
        yield _control("controls: feeds outside", table, experiment, elsewhere, arms)


def _before(columns: Values, metric: Metric) -> Values:
    """Return numerator and denominator of the period before."""
    if metric.per == "impression":
        return columns[:, 2:4]
    return np.stack([columns[:, 2], np.ones(len(columns))], axis=1)


def _control(
    name: str, table: UserTable, experiment: Experiment, columns: Values, arms: list[str]
) -> Check:
    """Check that arms which cannot differ in these columns do not."""
    found: Mapping[str, tuple[float, float, float]] = {
        arm: _interval(table, experiment, columns, arm) for arm in arms
    }
    wrong = [arm for arm, (low, high, _) in found.items() if low > 0 or high < 0]
    if wrong:
        low, high, control = found[wrong[0]]
        return Check(
            name,
            "failed",
            f"{wrong[0]} differs from the control, {control:.4g}, by {low:+.3g} to {high:+.3g},"
            " where nothing can differ",
        )
    return Check(name, "ok", f"{', '.join(arms)}: no difference")
