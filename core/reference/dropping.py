"""What a step's keys drop, by ``paribus.noise``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus import noise as definition
from paribus.architectures import Node
from paribus.noise import Keys

Array = npt.NDArray[Any]


class Drop:
    """What one step's keys by node drop of its ``rows``."""

    def __init__(self, keys: Mapping[str, Keys], rows: range) -> None:
        self._keys, self._rows = keys, rows

    def __call__(self, node: Node, probability: float, x: Array, whole: bool = False) -> Array:
        """Return ``x`` [n, …] without what is dropped: single values, or ``whole`` examples."""
        if node.name not in self._keys:
            return x
        size = 1 if whole else x[0].size
        kept = definition.kept(self._keys[node.name], self._rows, size, probability)
        shape = (len(x), *(1,) * (x.ndim - 1)) if whole else x.shape
        return np.asarray(x * kept.reshape(shape) * definition.scale(probability))
