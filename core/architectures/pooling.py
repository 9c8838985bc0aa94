"""The bins of ``adaptive_avg_pool2d``, for whoever pools by matrix products."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def bins(size: int, count: int) -> npt.NDArray[np.float64]:
    """Return what each of ``size`` elements weighs in each bin's mean: float64 [count, size]."""
    shares = np.zeros((count, size))
    for index in range(count):
        part = slice(index * size // count, -(-(index + 1) * size // count))
        shares[index, part] = 1.0 / (part.stop - part.start)
    return shares
