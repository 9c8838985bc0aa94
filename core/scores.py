"""Metrics by name, one definition for all backends: core computes them from outputs and labels.

Frameworks differ in how they break ties, average over classes, clip probabilities and merge
batches. So an adapter returns outputs, and what an accuracy or an R² is, is said here once, as
scikit-learn defines it wherever it does.

A metric that has no finite value on the rows it was given is None, never an exception in the middle
of a run, and never NaN in a file: there were no rows; outputs were NaN or infinite; a class that
``roc_auc`` needs did not occur; ``r2`` had one row; a mean loss is beyond what exp can take.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.architectures.network import LANGUAGE, Objective
from paribus.draws import Floats
from paribus.errors import SpecError, nearest
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

LOSS = "loss"
TOP_K = "top_K_accuracy"
_TOP = re.compile(r"top_([1-9][0-9]{0,8})_accuracy")
_CLASSES: tuple[Objective, ...] = ("classification",)
_NUMBERS: tuple[Objective, ...] = ("regression",)


@dataclass(frozen=True)
class Metric:
    """A metric: where it applies, which way is better, and how it is computed.

    Attributes:
        objectives: those that it applies to.
        larger: whether a larger value is the better one.
        tally: what is summed for it; metrics of one tally share it.
        value: the tally's method that answers; its docstring has the formula and its source.
    """

    objectives: tuple[Objective, ...]
    larger: bool
    tally: type[Tally]
    value: Callable[..., float | None]


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(_CLASSES + LANGUAGE, True, Likelihood, Likelihood.accuracy),
    # K is written as a number: top_5_accuracy
    TOP_K: Metric(_CLASSES, True, Ranks, Ranks.top),
    "balanced_accuracy": Metric(_CLASSES, True, ClassCounts, ClassCounts.balanced_accuracy),
    "macro_f1": Metric(_CLASSES, True, ClassCounts, ClassCounts.macro_f1),
    "roc_auc": Metric(_CLASSES, True, Curve, Curve.area),
    "log_loss": Metric(_CLASSES, False, Likelihood, Likelihood.log_loss),
    "calibration_error": Metric(_CLASSES, False, Calibration, Calibration.error),
    "mean_squared_error": Metric(_NUMBERS, False, Errors, Errors.mean_squared_error),
    "mean_absolute_error": Metric(_NUMBERS, False, Errors, Errors.mean_absolute_error),
    "r2": Metric(_NUMBERS, True, Errors, Errors.r2),
    "perplexity": Metric(LANGUAGE, False, Likelihood, Likelihood.perplexity),
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
        self._metrics = {name: _find(name, objective) for name in names}
        kinds = dict.fromkeys(metric.tally for metric, _ in self._metrics.values())
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
            for name, (metric, arguments) in self._metrics.items():
                value = metric.value(self._tallies[metric.tally], *arguments)
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


def larger_is_better(name: str) -> bool:
    """Return which way a metric is better; the loss, which every evaluation has, is one too."""
    return name != LOSS and _find(name)[0].larger


def better(name: str, new: float | None, old: float | None, min_delta: float = 0.0) -> bool:
    """Return whether ``new`` improves on ``old`` by more than ``min_delta``.

    Any number improves on None and NaN; neither of these improves on anything.
    """
    if new is None or isnan(new):
        return False
    if old is None or isnan(old):
        return True
    return new > old + min_delta if larger_is_better(name) else new < old - min_delta


def validate(names: Sequence[str], objective: Objective, classes: int) -> None:
    """Check the names of metrics.

    Args:
        names: what the user wrote.
        objective: the network's.
        classes: outputs of a row.

    Raises:
        SpecError: a metric is unknown or given twice, does not apply to the objective, or asks for
            the K best of fewer than K classes; the message has a line for each.
    """
    lines: dict[str, None] = {}
    for name in names:
        try:
            _, arguments = _find(name, objective)
        except SpecError as error:
            lines[str(error)] = None
            continue
        if arguments and arguments[0] > classes:
            lines[
                f"metric {name!r}: there {'is' if classes == 1 else 'are'} only {classes} "
                f"class{'' if classes == 1 else 'es'}; allowed: K from 1 to {classes}"
            ] = None
        if names.count(name) > 1:
            lines[f"metric {name!r}: given {names.count(name)} times; name it once"] = None
    if lines:
        raise SpecError("\n".join(lines))


def _find(name: str, objective: Objective | None = None) -> tuple[Metric, tuple[int, ...]]:
    """Return the metric of a name, and the arguments that the name has."""
    top = _TOP.fullmatch(name)
    metric = METRICS[TOP_K] if top else METRICS.get(name) if name != TOP_K else None
    if metric is not None and objective in (None, *metric.objectives):
        return metric, (int(top[1]),) if top else ()
    names = [n for n, m in METRICS.items() if objective in (None, *m.objectives)]
    listed = ", ".join(names) + (" (K a number from 1)" if TOP_K in names else "")
    if metric is not None:
        raise SpecError(
            f"metric {name!r}: it applies to {' and '.join(metric.objectives)}, but the objective "
            f"is {objective}; allowed: {listed}"
        )
    guess = nearest(name[:60], ["top_5_accuracy" if n == TOP_K else n for n in names])
    allowed = f"Allowed for {objective}" if objective else "Allowed"
    raise SpecError(f"metric {name[:60]!r}: unknown.{guess} {allowed}: {listed}")
