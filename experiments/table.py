"""The table that an analysis reads: one row a user, CSV or Parquet.

| column | what it holds |
|---|---|
| `user` | the user, once; hashed or not |
| `arm` | the arm that the frontend reported first |
| `computed_arm` | the arm by `arm_of` |
| `first_exposure_ms` | when a page with the experiment was first requested; empty: never |
| `complete` | whether the user's window is over, and all of it was counted |
| `served` | positions of the pages that were requested in the window |
| `impressions` | impressions in the window |
| `<metric>` | what the metric sums, in the window |
| `pre_impressions`, `pre_<metric>` | the same strictly before the first exposure; empty: not seen |
| `elsewhere_<metric>` | the same in the window, in feeds outside the experiment |
| `on_day<n>_impressions`, `on_day<n>_<metric>` | those of the window n calendar days (UTC) later |
| `arm_count` | how many arms the user's exposures in the window report |
| `client` | which program requested the first page; empty: the exposure does not say |

An impression is a post that the user was shown, once however often.  The last five rows may be left
out; without days no arm is shipped, or stopped by the primary metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedmill.events.errors import UsageError
from feedmill.events.experiment import Experiment
from feedmill.experiments.anytime_intervals import Values

# What pyarrow raises where a value, or a whole type, is not to be had as another type.
_NO_CAST = (ValueError, NotImplementedError)

DAY_MS = 86_400_000
MAX_DAYS = 1_000


@dataclass(frozen=True)
class UserTable:
    """The users of an experiment; all arrays are (users,), and NaN where the table is empty.

    Attributes
    ----------
    arm, computed_arm
        The place of the arm in the setting.
    first_exposure_ms
        Unix milliseconds, NaN without an exposure.
    complete
        Whether the window is over; False without an exposure.
    served, impressions, impressions_before
        Positions and impressions.
    sums, sums_before, elsewhere
        By metric; of the last two those that the table has.
    day_impressions, day_sums
        (users, days): impressions and the primary metric's sum by day of the window; or None.
    sums_by_day
        The same by metric, of those that the table has by day.
    arm_count, client
        How many arms the user was shown; and the client's name.  None where the table has none.
    """

    arm: NDArray[np.int64]
    computed_arm: NDArray[np.int64]
    first_exposure_ms: Values
    complete: NDArray[np.bool_]
    served: Values
    impressions: Values
    impressions_before: Values | None
    sums: Mapping[str, Values]
    sums_before: Mapping[str, Values]
    elsewhere: Mapping[str, Values]
    day_impressions: Values | None = None
    day_sums: Values | None = None
    sums_by_day: Mapping[str, Values] = field(default_factory=dict)
    arm_count: Values | None = None
    client: NDArray[np.str_] | None = None

    def of(self, users: NDArray[np.bool_]) -> UserTable:
        """Return the table of these users alone."""

        def cut(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {name: cut(values) for name, values in value.items()}
            return None if value is None else value[users]

        return UserTable(**{name: cut(value) for name, value in vars(self).items()})

    @property
    def entry_day(self) -> NDArray[np.int64]:
        """The calendar day of the first exposure, days since 1970; 0 without an exposure."""
        return np.asarray(np.nan_to_num(self.first_exposure_ms) // DAY_MS).astype(np.int64)

    def look_days(self, window_hours: float) -> NDArray[np.int64]:
        """Return the look that first has each user, one a day on which windows end; or -1."""
        over_ms = self.first_exposure_ms[self.complete] + window_hours * 3_600_000
        looks = np.full(len(self.arm), -1)
        if len(over_ms):
            days = np.floor((over_ms - over_ms.min()) / DAY_MS)
            looks[self.complete] = np.unique(days, return_inverse=True)[1]
        return looks


def read_table(path: Path, experiment: Experiment) -> UserTable:
    """Read a table of users; a name that ends in `.parquet` is Parquet, any other CSV.

    Raises `UsageError`: it is not there, or a column is missing or holds what it cannot.
    """
    columns = _Columns(path)
    columns.check_users()
    wanted = (experiment.primary, *experiment.guardrails)
    metrics = [name for name in experiment.all_metrics if name in wanted or name in columns]
    exposed = columns.numbers("first_exposure_ms", empty=True)
    known = exposed[~np.isnan(exposed)]
    days = {name: columns.by_day(name, experiment) for name in ("impressions", *metrics)}
    by_day = {name: one for name, one in days.items() if one is not None}
    # A clock that is off is no reason to refuse the others; other units than milliseconds are.
    first, last = np.quantile(known, (0.01, 0.99)) if len(known) else (0, 0)
    if last - first > MAX_DAYS * DAY_MS:
        raise UsageError(
            f"{path}: expected first exposures within {MAX_DAYS:,} days, got {first:.0f} to"
            f" {last:.0f} - in column `first_exposure_ms`, Unix milliseconds"
        )
    return UserTable(
        arm=columns.arms("arm", experiment),
        computed_arm=columns.arms("computed_arm", experiment),
        first_exposure_ms=exposed,
        complete=columns.flags("complete") & ~np.isnan(exposed),
        served=columns.numbers("served"),
        impressions=columns.numbers("impressions"),
        impressions_before=columns.numbers("pre_impressions", empty=True)
        if "pre_impressions" in columns
        else None,
        sums={name: columns.numbers(name) for name in metrics},
        sums_before=columns.optional("pre_", metrics) if "pre_impressions" in columns else {},
        elsewhere=columns.optional("elsewhere_", metrics),
        day_impressions=by_day.pop("impressions", None),
        day_sums=by_day.get(experiment.primary),
        sums_by_day=by_day,
        arm_count=columns.numbers("arm_count") if "arm_count" in columns else None,
        client=columns.clients("client") if "client" in columns else None,
    )


def read_period(path: Path, experiment: Experiment) -> UserTable:
    """Read a table of users of a time without an experiment: columns of arms are not needed.

    Raises `UsageError`: as `read_table`.
    """
    columns = _Columns(path)
    columns.check_users()
    wanted = (experiment.primary, *experiment.guardrails)
    impressions = columns.numbers("impressions")
    users = len(impressions)
    has_before = "pre_impressions" in columns
    return UserTable(
        arm=np.zeros(users, dtype=np.int64),
        computed_arm=np.zeros(users, dtype=np.int64),
        first_exposure_ms=np.zeros(users),
        complete=np.ones(users, dtype=np.bool_),
        served=impressions,
        impressions=impressions,
        impressions_before=columns.numbers("pre_impressions", empty=True) if has_before else None,
        sums={name: columns.numbers(name) for name in wanted},
        sums_before=columns.optional("pre_", wanted) if has_before else {},
        elsewhere={},
    )


class _Columns:
    """The columns of a file, each checked when it is asked for."""

    def __init__(self, path: Path) -> None:
        # Only who analyses needs pyarrow, which takes long to import.
        import pyarrow as pa  # noqa: PLC0415 - see above
        import pyarrow.csv as pa_csv  # noqa: PLC0415 - see above
        import pyarrow.parquet as pa_parquet  # noqa: PLC0415 - see above

        self._path = path
        try:
            read = pa_parquet.read_table if path.suffix == ".parquet" else pa_csv.read_csv
            self._table: Any = read(path)
            self._names: list[str] = self._table.column_names
        except FileNotFoundError:
            raise UsageError(f"{path} does not exist; it is a table with one row a user") from None
        except (pa.ArrowException, OSError, UnicodeError) as error:
            raise UsageError(f"{path} is no table: {str(error).splitlines()[0][:200]}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def _column(self, name: str) -> Any:
        if self._names.count(name) != 1:
            raise UsageError(
                f"{self._path}: expected one column `{name}`, got {', '.join(self._names)[:400]}"
            )
        return self._table.column(name)

    def check_users(self) -> None:
        users = self._column("user")
        if users.null_count or len(users.unique()) != len(users):
            raise UsageError(
                f"{self._path}: expected each `user` once, got {len(users.unique()):,} users in"
                f" {len(users):,} rows; the unit is the user, so add up the rows of each first"
            )

    def _texts(self, name: str) -> Any:
        try:
            return self._column(name).cast("string")
        except _NO_CAST:
            raise UsageError(
                f"{self._path}: expected names, got {self._column(name).type} - in column `{name}`"
            ) from None

    def clients(self, name: str) -> NDArray[np.str_]:
        return np.array(self._texts(name).fill_null("").to_pylist(), dtype=np.str_)

    def arms(self, name: str, experiment: Experiment) -> NDArray[np.int64]:
        column = self._texts(name).dictionary_encode().combine_chunks()
        found: Sequence[object] = column.dictionary.to_pylist()
        known = {arm: place for place, arm in enumerate(experiment.shares)}
        for value in (*found, *([None] if column.null_count else [])):
            if value not in known:
                raise UsageError(
                    f"{self._path}: expected an arm of the experiment ({', '.join(known)}), got"
                    f" {str(value)[:80]!r} - in column `{name}`"
                )
        places = np.array([known[str(value)] for value in found], dtype=np.int64)
        indices: NDArray[np.int64] = np.asarray(column.indices).astype(np.int64)
        return places[indices] if len(indices) else indices

    def numbers(self, name: str, *, empty: bool = False) -> Values:
        column = self._column(name)
        try:
            values = np.asarray(column.cast("float64").to_numpy(), dtype=np.float64)
        except _NO_CAST:
            raise UsageError(
                f"{self._path}: expected numbers, got {column.type} - in column `{name}`"
            ) from None
        wrong = (values < 0) | np.isinf(values)
        if not empty:
            wrong |= np.isnan(values)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise UsageError(
                f"{self._path}: expected a number from 0 on{' or nothing' if empty else ''}, got"
                f" {column[row].as_py()} - in column `{name}`, row {row + 1}"
            )
        return values

    def flags(self, name: str) -> NDArray[np.bool_]:
        column = self._column(name)
        if str(column.type) != "bool" or column.null_count:
            raise UsageError(
                f"{self._path}: expected true or false in every row, got {column.type} - in column"
                f" `{name}`"
            )
        return np.asarray(column.to_numpy(), dtype=np.bool_)

    def by_day(self, name: str, experiment: Experiment) -> Values | None:
        if f"on_day0_{name}" not in self:
            return None
        days = range(experiment.window_days)
        return np.stack([self.numbers(f"on_day{day}_{name}") for day in days], axis=1)

    def optional(self, before: str, metrics: Sequence[str]) -> dict[str, Values]:
        return {
            name: self.numbers(before + name, empty=True)
            for name in metrics
            if before + name in self
        }
