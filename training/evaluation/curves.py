"""Curves of a filter on one data set: their points by scikit-learn, drawn by matplotlib."""

from __future__ import annotations

import io

import msgspec
import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve, roc_curve

from feedmill.training.arrays import Mask, Values

Points = list[tuple[float, float]]
_BINS, _MOST_POINTS = 15, 80


class Curves(msgspec.Struct, frozen=True):
    """The points (x, y) of each curve; without both classes `roc` and `precision` have none.

    Attributes
    ----------
    roc
        (false positive rate, recall).
    precision
        (recall, precision), from the highest score down.
    calibration
        (mean value, fraction violating) of each bin of equal width with rows.
    """

    roc: Points
    precision: Points
    calibration: Points


def curves_of(scores: Values, violating: Mask) -> Curves:
    """Return the curves of (rows,) scores in [0, 1]."""
    hits, means = calibration_curve(violating, scores, n_bins=_BINS)
    calibration = _points(means, hits)
    if violating.all() or not violating.any():
        return Curves([], [], calibration)
    false_alarms, recall, _ = roc_curve(violating, scores)
    precision, recalled, _ = precision_recall_curve(violating, scores, drop_intermediate=True)
    return Curves(
        _points(false_alarms, recall), _points(recalled[::-1], precision[::-1]), calibration
    )


def _points(across: Values, up: Values) -> Points:
    """Return the points as pairs, at most 80 of them with both ends."""
    kept = np.unique(np.linspace(0, len(across) - 1, _MOST_POINTS).astype(np.int64))
    return [(float(across[i]), float(up[i])) for i in kept]


def svg(title: str, curves: Curves) -> str:
    """Return the curves side by side as SVG; the same curves give the same bytes."""
    from matplotlib import rc_context  # noqa: PLC0415 - slow to import, and needed for files alone
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "feedmill", "font.size": 8}):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        figure.suptitle(title)
        panels = (
            ("false positive rate", "recall", curves.roc, "-"),
            ("recall", "precision", curves.precision, "-"),
            ("probability", "share violating", curves.calibration, "o-"),
        )
        for axes, (across, up, points, style) in zip(figure.subplots(1, 3), panels, strict=True):
            axes.set(xlabel=across, ylabel=up, xlim=(0, 1), ylim=(0, 1), aspect="equal")
            if up != "precision":
                axes.plot((0, 1), (0, 1), color="#ccc")
            axes.plot([x for x, _ in points], [y for _, y in points], style, markersize=3)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
