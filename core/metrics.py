"""Metrics from sums and counts, divided once at the end; never means of means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

from paribus.plan import Sums


@dataclass(frozen=True)
class Evaluation:
    """Mean loss (natural logarithm), accuracy in [0, 1], and the number of examples."""

    loss: float
    accuracy: float
    examples: int

    @classmethod
    def of(cls, sums: Sums) -> Evaluation:
        """Divide the sums."""
        return cls(sums.loss / sums.predictions, sums.correct / sums.predictions, sums.predictions)

    def metric(self, name: str) -> float:
        """Return ``loss`` or ``accuracy``."""
        return float(getattr(self, name))

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def better(metric: str, new: float, old: float, min_delta: float = 0.0) -> bool:
    """Return whether ``new`` improves on ``old`` by more than ``min_delta``."""
    return new < old - min_delta if metric == "loss" else new > old + min_delta


def mean_and_standard_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and s/√n with the sample standard deviation (n − 1); None for one value."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, sqrt(variance / len(values))
