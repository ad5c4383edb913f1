"""What must hold before an effect is shown: data, ratio, arms, dose, controls, in this order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from feedmill.events.errors import UsageError
from feedmill.events.experiment import Experiment
from feedmill.events.limits import Name
from feedmill.events.metric import Metric
from feedmill.events.reasons import DECODE_ERRORS, reason_of
from feedmill.experiments.anytime_intervals import Values, radius, ratio_log_e
from feedmill.experiments.effects import (
    ALPHA,
    MIN_USERS,
    arm_moments,
    capped,
    columns_of,
    contrast,
    moments_by_look,
    tuned_at,
)
from feedmill.experiments.table import UserTable

# A warning is to be read with the effect; what failed lets none be shown.
State = Literal["ok", "warning", "failed", "unknown"]

# The e-value from which on the users of the arms are not what the shares make.
RATIO_E = 1_000.0
# Of a hundred experiments without a fault one may fail a control, over all looks together.
CONTROL_ALPHA = 0.01
# Which part of the users may report another arm than was computed, and may have been shown two.
MISMATCHED = 0.001
TWO_ARMS = 0.01
# The largest part of all counts that a single user may have.
LARGEST = 0.1


class Gap(Struct, frozen=True, forbid_unknown_fields=True):
    """A time of which the record of exposures and engagements lacks something."""

    from_ms: int
    to_ms: int
    what: str = ""


class StartedSetting(Struct, frozen=True, forbid_unknown_fields=True):
    """What decides in the setting of an experiment, and the offset of its last record."""

    offset: int
    primary: Name
    planned_n: int


class FeedWeights(Struct, frozen=True, forbid_unknown_fields=True):
    """The weights of a feed while an experiment ran.

    Attributes
    ----------
    offset
        That of the record of `weights/<feed>` in force at the end; -1 without one.
    changed, arms
        Whether weights of an arm changed while it ran, and the effective ones of each at the end.
    share
        Of the impressions of the feed's posts, which part was in the feed; None where none says so.
    """

    offset: int
    changed: bool
    arms: dict[Name, dict[str, Any]]
    share: float | None = None


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
    started_ms, early
        When it began, Unix milliseconds, and how many exposures the join left out as earlier.
    late
        How many engagements, of how many users, came when the windows had been called complete.
    setting, export, read
        The setting that was started, the folder of the export, and its next offsets.
    weights
        By feed of the experiment its weights, and those of the arms.
    """

    gaps: tuple[Gap, ...] | None = None
    overlap: dict[Name, Annotated[float, Meta(ge=0, le=1)]] = {}
    changes: tuple[str, ...] = ()
    started_ms: int | None = None
    early: int = 0
    late: tuple[int, int] = (0, 0)
    setting: StartedSetting | None = None
    export: str | None = None
    read: Mapping[str, Mapping[int, int]] = {}
    weights: Mapping[str, FeedWeights] = {}


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
        _largest(table, experiment),
        *_left_out(record),
        *_ratios(table, experiment),
        *_mismatches(table),
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


def _largest(table: UserTable, experiment: Experiment) -> Check:
    """Find the user who has the largest part of all impressions, or of the primary metric."""
    sums = {experiment.primary: table.sums[experiment.primary], "impressions": table.impressions}
    counted = {name: values[table.complete] for name, values in sums.items()}
    shares = {
        name: values.max(initial=0) / max(values.sum(), 1e-9) for name, values in counted.items()
    }
    name = max(shares, key=lambda name: float(shares[name]))
    found = f"one user has {shares[name]:.1%} of {name}; {LARGEST:.0%} stops"
    return Check("data: largest user", _state(failed=bool(shares[name] > LARGEST)), found)


def _left_out(record: ExperimentRecord) -> Iterator[Check]:
    if record.early:
        found = f"{record.early:,} exposures are dated before it, and left out"
        yield Check("data: the start", "ok", found)
    if record.late[0]:
        found = "{:,} engagements of {:,} users came when their windows had been called complete"
        yield Check("data: late engagements", "ok", found.format(*record.late))


def _counts(
    arm: NDArray[np.int64], users: NDArray[np.bool_], experiment: Experiment
) -> NDArray[np.int64]:
    return np.bincount(arm[users], minlength=len(experiment.arms))


def _ratios(table: UserTable, experiment: Experiment) -> Iterator[Check]:
    exposed = ~np.isnan(table.first_exposure_ms)
    groups = {
        "exposed": exposed,
        "exposed with an impression": exposed & (table.impressions > 0),
        "completed": table.complete,
    }
    shares = list(experiment.shares.values())
    for name, users in groups.items():
        counts = _counts(table.arm, users, experiment)
        log_e = float(ratio_log_e(counts, shares))
        found = f"{_ratio_text(counts, log_e)} against the configured shares; {RATIO_E:,.0f} stops"
        for what, values in (("day", table.entry_day), ("client", table.client)):
            if values is not None and users.any():
                found += _worst(what, values[users], table.arm[users], shares)
        yield Check(f"ratio: {name}", _state(failed=log_e >= np.log(RATIO_E)), found)


def _worst(what: str, values: NDArray[Any], arm: NDArray[np.int64], shares: list[int]) -> str:
    """Return which of the values has other shares than are configured, if one surely has."""
    names, place = np.unique(values, return_inverse=True)
    cells = np.bincount(place * len(shares) + arm, minlength=len(names) * len(shares))
    counts = cells.reshape(len(names), -1)
    each = ratio_log_e(counts, shares)
    worst = int(each.argmax())
    if len(names) == 1 or each[worst] < np.log(RATIO_E):
        return ""
    name = np.datetime64(int(names[worst]), "D") if what == "day" else names[worst] or "none"
    return f"; worst by {what}, {name}: {_ratio_text(counts[worst], float(each[worst]))}"


def _ratio_text(counts: NDArray[np.int64], log_e: float) -> str:
    e_value = f"{np.exp(log_e):.3g}" if log_e < 100 else f"e^{log_e:.0f}"
    return f"{' : '.join(f'{count:,}' for count in counts)}, e-value {e_value}"


def _interval(
    table: UserTable, experiment: Experiment, columns: Values, arm: str, alpha: float
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
    reach = radius(found.standard_error, found.users, tuned=tuned, alpha=alpha)[0]
    if np.isnan(reach) or np.isnan(found.estimate[0]):
        return -np.inf, np.inf, 1.0
    low, high = float(found.estimate[0] - reach), float(found.estimate[0] + reach)
    return low, high, float(found.control[0])


def _mismatches(table: UserTable) -> Iterator[Check]:
    exposed = ~np.isnan(table.first_exposure_ms)
    users = int(exposed.sum())
    wrong = int((table.arm != table.computed_arm)[exposed].sum())
    yield Check(
        "arms",
        _state(failed=wrong > MISMATCHED * users),
        f"{wrong:,} of {users:,} exposed users report another arm than the assignment gives;"
        f" {MISMATCHED:.1%} stops",
    )
    state: State = "unknown"
    found = "the table does not count a user's arms"
    if table.arm_count is not None:
        two = int((table.arm_count > 1)[exposed].sum())
        state = _state(failed=two > TWO_ARMS * users)
        found = f"{two:,} of {users:,} exposed users were shown two arms; {TWO_ARMS:.0%} stops"
    yield Check("arms: users in two", state, found)


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
    name, whole = experiment.primary, table.complete
    metric = experiment.all_metrics[name]
    columns = columns_of(table, name, metric)
    copies = [arm.name for arm in experiment.arms if arm.control_copy]
    if copies:
        yield _control("controls: the copy of the control", (table, experiment), columns, copies)
    if columns.shape[1] > 2:
        below = columns[:, 3] if metric.per == "impression" else np.ones(len(columns))
        before = np.stack([columns[:, 2], np.where(columns[:, 4] > 0, np.nan, below)], axis=1)
        yield _control("controls: the outcome before", (table, experiment), before)
    else:
        yield Check("controls: the outcome before", "unknown", "the table has no period before")
    # These come after the exposure: better lists may well change them.
    shown = capped(table.impressions, table.served, Metric("impression"), whole)
    after = {"ratio: impressions over served positions": shown}
    if name in table.elsewhere:
        elsewhere = table.elsewhere[name]
        after["controls: feeds outside"] = capped(elsewhere, elsewhere, Metric("user"), whole)
    for what, sums in after.items():
        yield _control(what, (table, experiment), np.stack(sums, axis=1), state="warning")


def _control(
    name: str,
    of: tuple[UserTable, Experiment],
    columns: Values,
    arms: Sequence[str] = (),
    state: State = "failed",
) -> Check:
    """Check that these arms, or all, do not differ from the control in these columns."""
    alpha, why = CONTROL_ALPHA, "where nothing can differ"
    if state == "warning":
        alpha, why = ALPHA, "which its lists may do: read the effect with it"
    arms = arms or [arm.name for arm in of[1].arms[1:]]
    for arm in arms:
        low, high, control = _interval(*of, columns, arm, alpha)
        if low > 0 or high < 0:
            found = f"{arm} differs from the control, {control:.4g}, by {low:+.3g} to {high:+.3g}"
            return Check(name, state, f"{found}, {why}")
    return Check(name, "ok", f"{', '.join(arms)}: no difference")
