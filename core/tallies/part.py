"""Some rows' outputs and labels, and the base of what they are added to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.draws import Floats
from paribus.plan import Integers


class Part:
    """Some rows' outputs float64 [n, C] and labels, and what several tallies ask of them.

    Labels are int64 [n] for classes, float64 [n, C] for numbers; n ≥ 1.
    """

    def __init__(self, outputs: Floats, labels: npt.NDArray[Any]) -> None:
        self.outputs, self.labels = outputs, labels

    @cached_property
    def best(self) -> Integers:
        """The class of the largest logit, the first one among equals; int64 [n]."""
        return np.asarray(self.outputs.argmax(axis=1), dtype=np.int64)

    @cached_property
    def right(self) -> npt.NDArray[np.bool_]:
        """Where ``best`` is the label; bool [n]."""
        return np.asarray(self.best == self.labels)

    @cached_property
    def shifted(self) -> Floats:
        """Logits less the row's largest: at most 0, so their exponentials do not overflow."""
        return np.asarray(self.outputs - self.outputs.max(axis=1, keepdims=True))

    @cached_property
    def exponentials(self) -> Floats:
        """exp(shifted): the probabilities up to a factor per row; float64 [n, C]."""
        return np.asarray(np.exp(self.shifted))

    @cached_property
    def totals(self) -> Floats:
        """The row's sum of ``exponentials``, from 1 to C; float64 [n]."""
        return np.asarray(self.exponentials.sum(axis=1))

    def own(self, values: Floats) -> Floats:
        """Return the labels' entries of ``values`` [n, C]; [n]."""
        return np.asarray(values[np.arange(len(values)), self.labels])


class Tally(ABC):
    """Sums and counts for ``classes`` classes or outputs."""

    def __init__(self, classes: int) -> None:
        self.classes = classes

    @abstractmethod
    def add(self, part: Part) -> None:
        """Take a part's rows in."""
