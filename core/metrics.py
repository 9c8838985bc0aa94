"""What an evaluation found, from sums and counts divided once at the end; never means of means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, sqrt
from typing import Any

from paribus.architectures import LANGUAGE, Objective
from paribus.plan import Sums


@dataclass(frozen=True)
class Evaluation:
    """A model judged on some examples.

    Attributes:
        loss: mean of the objective's loss: over examples, over their weights where classes have
            weights, over predicted tokens for language models.
        examples: how many rows were judged.
        scores: further metrics by name; None where one is not defined for these rows.
    """

    loss: float
    examples: int
    scores: Mapping[str, float | None] = field(default_factory=dict)

    @classmethod
    def of(cls, sums: Sums, examples: int, objective: Objective) -> Evaluation:
        """Divide an adapter's sums."""
        loss = sums.loss / sums.predictions
        scores: dict[str, float | None] = {}
        if objective != "regression":
            scores["accuracy"] = sums.correct / sums.predictions
        if objective in LANGUAGE:
            scores["perplexity"] = exp(loss) if loss < 700 else None
        return cls(loss, examples, scores)

    def metric(self, name: str) -> float | None:
        """Return the loss, or a further metric."""
        return self.loss if name == "loss" else self.scores[name]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"loss": self.loss, **self.scores, "examples": self.examples}


def mean_and_standard_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and s/√n with the sample standard deviation (n − 1); None for one value."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, sqrt(variance / len(values))
