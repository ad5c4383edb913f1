"""A signal of every post, in columns of some fourteen bytes a post."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.events.signal import Signal
from feedmill.rankers.combiner.columns import Flags, InternTable, Rows
from feedmill.tables.mapped_column import MappedColumn

# Some rows, or all of them as a slice, which spares numpy a copy of every column.
RowSelection = npt.NDArray[np.int32] | slice

# A row's state: the number of the model plus one, 0 where there is no signal; and whether the
# present version of the post was judged.
_CURRENT = 1 << 15
_MODEL = _CURRENT - 1
SHORT_DIGITS = 6
_is_long = re.compile(r"[0-9a-f]{12}").fullmatch


def short_version(version: str) -> str:
    """The first six digits of a version of twelve hexadecimal digits; any other one whole."""
    return version[:SHORT_DIGITS] if _is_long(version) else version


class StoredSignal(NamedTuple):
    """What is kept of a signal, or read from Redis; fields as in `Signal`.

    Redis has the value as the same float32, the version perhaps cut, and no revision.
    """

    value: float | None
    model: str = ""
    version: str = ""
    post_offset: int = -1
    at_ms: int = 0
    error: str | None = None
    revision: int = 0


class StoredSignals(NamedTuple):
    """One signal of many posts; fields as in `Signal`, in the order of the rows asked for.

    Attributes
    ----------
    values
        Shape (n,), NaN where there is none.
    models
        Of each the model and the version, None where the post has no signal.
    errors
        By place in that order.
    """

    values: npt.NDArray[np.float32]
    models: list[tuple[str, str] | None]
    post_offsets: npt.NDArray[np.int64]
    at_ms: npt.NDArray[np.int64]
    errors: dict[int, str]


class SignalColumns:
    """One signal of every post.

    Nearly every signal is about the present version of its post; a dict has the version of the
    others, and another dict the errors.

    Parameters
    ----------
    models
        The table of ``(model, version)``, which all signals share.
    is_gate
        Whether a failure leaves NaN; that of an objective or a cost leaves the last good value.
    has_base
        Whether weights say what counts of a post without a value.
    keeps_times
        Whether `at_ms` of signals is kept, eight bytes each; else it is 0.

    Attributes
    ----------
    value
        By row: NaN for a gate without a verdict, and for what has a base and no value; an
        objective or a cost without a base is 0 then.
    """

    def __init__(
        self,
        models: InternTable,
        *,
        is_gate: bool,
        has_base: bool = False,
        keeps_times: bool = True,
    ) -> None:
        self._models = models
        self._empty = np.nan if is_gate or has_base else 0.0
        self._keeps_value = not is_gate
        self._keeps_times = keeps_times
        self.value = MappedColumn(np.float32, self._empty)
        self._state = MappedColumn(np.uint16)
        self._at_ms = MappedColumn(np.int64)
        # Revisions of 0 are not written, so that a column of them takes no memory.
        self._revision = MappedColumn(np.int64)
        self._older: dict[int, int] = {}  # by row: the version, where it is not the present one
        self._far_models: dict[int, tuple[str, str]] = {}  # by row, once the table is full
        self._errors: dict[int, str] = {}

    @property
    def revision(self) -> npt.NDArray[np.int64]:
        """Shape (n,): the revisions of the signals, 0 where there is none."""
        return self._revision.values

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` rows."""
        for column in (self.value, self._state, self._at_ms, self._revision):
            column.grow(capacity)

    def is_current(self, rows: RowSelection) -> Flags:
        """For each row whether there is a signal about the present version of the post."""
        flags: Flags = self._state.values[rows] >= _CURRENT
        return flags

    def get(self, row: int, post_offset: int) -> StoredSignal | None:
        """The signal of the post in this row, whose present version is `post_offset`."""
        state = self._state.cells[row]
        if not state:
            return None
        model, version = self._model_of(row, state)
        return StoredSignal(
            self._value_of(row),
            model,
            version,
            post_offset if state >= _CURRENT else self._older[row],
            self._at_ms.cells[row],
            self._errors.get(row) if self._errors else None,
            self._revision.cells[row],
        )

    def get_many(self, rows: Rows, post_offsets: npt.NDArray[np.int64]) -> StoredSignals:
        """The signals of the posts in these rows, whose present versions are `post_offsets`."""
        states = self._state.values[rows]
        judged = post_offsets
        older = np.flatnonzero((states != 0) & (states < _CURRENT)).tolist()
        if older:
            judged = post_offsets.copy()
            judged[older] = [self._older[row] for row in rows[older].tolist()]
        pairs = list(enumerate(rows.tolist())) if self._errors else ()
        return StoredSignals(
            self.value.values[rows],
            self._models_of(rows, states.tolist()),
            judged,
            self._at_ms.values[rows],
            {i: self._errors[row] for i, row in pairs if row in self._errors},
        )

    def current_value(self, row: int) -> float:
        """The value where the present version of the post was judged, else NaN."""
        value: float = self.value.cells[row]
        return value if self._state.cells[row] >= _CURRENT else math.nan

    def current_values(self, rows: Rows) -> npt.NDArray[np.float32]:
        """The values where the present version of the post was judged, else NaN."""
        return np.where(self.is_current(rows), self.value.values[rows], np.float32(np.nan))

    def verdict(self, row: int) -> tuple[float | None, str, str] | None:
        """Return value, model and version where the present version of the post was judged."""
        state = self._state.cells[row]
        if state < _CURRENT:
            return None
        return self._value_of(row), *self._model_of(row, state)

    def update(self, row: int, signal: Signal, post_offset: int) -> bool:
        """Store a signal about the present or an earlier version of the post in this row.

        Returns whether it was stored: not if it is older than the signal that is there.
        """
        state = self._state.cells[row]
        if state:
            stored = post_offset if state >= _CURRENT else self._older[row]
            if signal.post_offset < stored:
                return False
            if signal.post_offset == stored and signal.revision < self._revision.cells[row]:
                return False
        if signal.value is not None:
            self.value.cells[row] = signal.value
        elif not self._keeps_value:
            self.value.cells[row] = np.nan
        model = signal.model, signal.version
        state = self._model_state(model)
        self._set_rare(row, model if state == _MODEL else None, signal.error)
        self._older.pop(row, None)
        if signal.post_offset == post_offset:
            state |= _CURRENT
        else:
            self._older[row] = signal.post_offset
        self._state.cells[row] = state
        if self._keeps_times:
            self._at_ms.cells[row] = signal.at_ms
        if signal.revision or self._revision.cells[row]:
            self._revision.cells[row] = signal.revision
        return True

    def supersede(self, row: int, offset: int) -> None:
        """Say that the post in this row has a new version; `offset` is the one before."""
        state = self._state.cells[row]
        if state >= _CURRENT:
            self._state.cells[row] = state & _MODEL
            self._older[row] = offset

    def clear(self, rows: Rows) -> None:
        """Forget the signal of these rows."""
        self.value.values[rows] = self._empty
        self._state.values[rows] = 0
        for table in (self._older, self._far_models, self._errors):
            if table:
                for row in rows.tolist():
                    table.pop(row, None)

    def _value_of(self, row: int) -> float | None:
        value: float = self.value.cells[row]
        return None if math.isnan(value) else value

    def _set_rare(self, row: int, far_model: tuple[str, str] | None, error: str | None) -> None:
        """Keep what few signals have, and forget what the signal before had of it."""
        if far_model is not None:
            self._far_models[row] = far_model
        elif self._far_models:
            self._far_models.pop(row, None)
        if error is not None:
            self._errors[row] = error
        elif self._errors:
            self._errors.pop(row, None)

    def _model_state(self, model: tuple[str, str]) -> int:
        number = self._models.find(model)
        if number is None:
            if len(self._models) >= _MODEL - 1:
                return _MODEL
            number = self._models.number(model)
        return number + 1

    def _models_of(self, rows: Rows, states: list[int]) -> list[tuple[str, str] | None]:
        if self._far_models:
            pairs = zip(rows.tolist(), states, strict=True)
            return [self._model_of(row, state) if state else None for row, state in pairs]
        models = {state: self._model_of(-1, state) if state else None for state in set(states)}
        if len(models) == 1:
            return [*models.values()] * len(states)
        return [models[state] for state in states]

    def _model_of(self, row: int, state: int) -> tuple[str, str]:
        number = state & _MODEL
        if number == _MODEL:
            return self._far_models[row]
        model, version = self._models.values[number - 1]
        return model, version
