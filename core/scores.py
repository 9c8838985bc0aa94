"""Metrics by name, one definition for all backends: core computes them from outputs and labels.

Frameworks differ in how they break ties, average over classes, clip probabilities and merge
batches. So an adapter returns outputs, and what an accuracy or an R² is, is said here once, as
scikit-learn defines it wherever it does.

A metric that has no finite value on the rows it was given is None, never an exception in the middle
of a run, and never NaN in a file: there were no rows; outputs were NaN or infinite; a class that
``roc_auc`` needs did not occur; ``r2`` had one row; a mean loss is beyond what exp can take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.architectures.network import LANGUAGE, Objective
from paribus.draws import Floats
from paribus.measures import TOP_K, find, validate
from paribus.plan import Sums
from paribus.tallies import (
    Calibration,
    ClassCounts,
    Curve,
    Errors,
    Likelihood,
    Part,
    Ranks,
    Tally,
)

# metric → what is summed for it (metrics of one tally share it), and its method that answers, whose
# docstring has the formula and its source
TALLIES: Mapping[str, tuple[type[Tally], Callable[..., float | None]]] = {
    "accuracy": (Likelihood, Likelihood.accuracy),
    TOP_K: (Ranks, Ranks.top),
    "balanced_accuracy": (ClassCounts, ClassCounts.balanced_accuracy),
    "macro_f1": (ClassCounts, ClassCounts.macro_f1),
    "roc_auc": (Curve, Curve.area),
    "log_loss": (Likelihood, Likelihood.log_loss),
    "calibration_error": (Calibration, Calibration.error),
    "mean_squared_error": (Errors, Errors.mean_squared_error),
    "mean_absolute_error": (Errors, Errors.mean_absolute_error),
    "r2": (Errors, Errors.r2),
    "perplexity": (Likelihood, Likelihood.perplexity),
}


class Scores:
    """Metrics of some rows, taken in any number of parts.

    Args:
        objective: the network's.
        names: of metrics, as ``validate`` accepts them.
        classes: C, the outputs of a row: classes, numbers, or tokens of the vocabulary.

    Raises:
        SpecError: as ``validate``.
    """

    def __init__(self, objective: Objective, names: Sequence[str], classes: int) -> None:
        validate(names, objective, classes)
        self._objective, self._classes = objective, classes
        self._metrics = {name: find(name, objective) for name in names}
        kinds = dict.fromkeys(TALLIES[key][0] for key, _ in self._metrics.values())
        self._tallies = {kind: kind(classes) for kind in kinds}
        self._rows, self._finite = 0, True

    def add(self, outputs: Floats, labels: npt.NDArray[Any]) -> None:
        """Take n ≥ 0 rows (of language models: predicted tokens) in.

        Args:
            outputs: float64 [n, C]: logits, or the predicted numbers.
            labels: int64 [n] from 0 to C − 1; for regression float64 [n, C].

        Raises:
            ValueError: shapes or labels that do not fit; whoever calls is at fault, not the user.
        """
        part = self._part(outputs, labels)
        if len(part.outputs) == 0:
            return
        self._rows += len(part.outputs)
        self._finite = self._finite and bool(np.isfinite(part.outputs).all())
        if self._finite:
            with np.errstate(over="ignore", invalid="ignore"):
                for tally in self._tallies.values():
                    tally.add(part)

    def add_sums(self, sums: Sums) -> None:
        """Take in what an adapter's ``evaluate`` has summed; for language models only.

        Their logits, [tokens, vocabulary], are better not moved. For other objectives the sums do
        not do: the loss may be smoothed, and most metrics need more.

        Raises:
            ValueError: another objective.
        """
        if self._objective not in LANGUAGE:
            raise ValueError(f"sums of {self._objective} do not hold what its metrics need")
        self._rows += sums.predictions
        self._finite = self._finite and isfinite(sums.loss)
        for tally in self._tallies.values():
            assert isinstance(tally, Likelihood)
            tally.merge(sums)

    def result(self) -> dict[str, float | None]:
        """Return the metrics of all rows so far, in the order of their names; None: see above."""
        if self._rows == 0 or not self._finite:
            return dict.fromkeys(self._metrics)
        found: dict[str, float | None] = {}
        with np.errstate(over="ignore", invalid="ignore"):
            for name, (key, arguments) in self._metrics.items():
                tally, answer = TALLIES[key]
                value = answer(self._tallies[tally], *arguments)
                found[name] = value if value is not None and isfinite(value) else None
        return found

    def _part(self, outputs: Floats, labels: npt.NDArray[Any]) -> Part:
        # One memory layout, so that a row's sums round the same way in any part.
        outputs = np.ascontiguousarray(outputs, dtype=np.float64)
        regression = self._objective == "regression"
        labels = np.asarray(labels, dtype=np.float64 if regression else np.int64)
        wanted = outputs.shape if regression else outputs.shape[:1]
        if outputs.ndim != 2 or outputs.shape[1] != self._classes or labels.shape != wanted:
            raise ValueError(
                f"outputs {outputs.shape} and labels {labels.shape} of {self._objective} with "
                f"{self._classes} outputs"
            )
        if not regression and len(labels) and not 0 <= labels.min() <= labels.max() < self._classes:
            raise ValueError(
                f"labels from {labels.min()} to {labels.max()}, but {self._classes} classes"
            )
        return Part(outputs, labels)
