"""The types of the arrays that training and evaluation pass around."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.floating[Any]]
