"""From a filter's raw scores to probabilities, with a threshold for each length of text."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log

import numpy as np
import numpy.typing as npt

from feedmill.events.gates import DEMOTE_AT
from feedmill.models.text_model import Scores


def log_odds(probability: float) -> float:
    """Return the log-odds of a probability; infinite at 1."""
    return inf if probability == 1 else log(probability / (1 - probability))


_DEMOTE_LOG_ODDS = log_odds(DEMOTE_AT)


@dataclass(frozen=True, slots=True)
class LengthCalibrator:
    """A logistic map whose threshold depends on the length of the text.

    Attributes
    ----------
    lengths
        (bands - 1,) the most characters of a text in each band but the last, ascending.
    demote_at
        (bands,) the raw score that becomes `DEMOTE_AT`.
    slope
        How many log-odds one raw score is worth.
    ceiling
        No value is higher; values come close to it and never meet.
    """

    lengths: npt.NDArray[np.int64]
    demote_at: Scores
    slope: float
    ceiling: float

    def value(self, raw: Scores, characters: npt.NDArray[np.int64]) -> Scores:
        """Map (rows,) raw scores of texts of so many characters to (rows,) float64 in [0, 1]."""
        if len(raw) == 1:
            return np.array([self._value_of_one(raw.item(), characters.item())])
        values: Scores = 1.0 / (1.0 + np.exp(-self.log_odds(raw, characters)))
        return values

    def _value_of_one(self, raw: float, characters: int) -> float:
        """Return what `value` does of one score, by Python's numbers."""
        threshold = self.demote_at.item(int(self.lengths.searchsorted(characters)))
        # Up and down again, as `log_odds` does: rounding is part of the value.
        above = self.slope * (raw - threshold) + _DEMOTE_LOG_ODDS - _DEMOTE_LOG_ODDS
        room = log_odds(self.ceiling) - _DEMOTE_LOG_ODDS
        if above > 0 and room < inf:
            above = room * float(np.tanh(np.divide(above, room)))
        odds = max(above + _DEMOTE_LOG_ODDS, -700.0)
        return 1.0 / (1.0 + float(np.exp(-odds)))

    def log_odds(self, raw: Scores, characters: npt.NDArray[np.int64]) -> Scores:
        """Return the log-odds of the same values: (rows,)."""
        above = self.unlimited(raw, characters) - _DEMOTE_LOG_ODDS
        room = log_odds(self.ceiling) - _DEMOTE_LOG_ODDS
        if room < inf:
            above = np.where(above > 0, room * np.tanh(above / room), above)
        odds: Scores = np.maximum(above + _DEMOTE_LOG_ODDS, -700.0)
        return odds

    def unlimited(self, raw: Scores, characters: npt.NDArray[np.int64]) -> Scores:
        """Return the log-odds without the ceiling, linear in the raw score: (rows,)."""
        above = raw - self.demote_at[self.lengths.searchsorted(characters)]
        return self.slope * above + _DEMOTE_LOG_ODDS
