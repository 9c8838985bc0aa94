"""Which metrics there are: what they apply to, and which way is better.

Only names: a spec is checked against them without importing what computes them (``scores``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from paribus.architectures.network import LANGUAGE, Objective
from paribus.errors import SpecError, nearest

LOSS = "loss"
TOP_K = "top_K_accuracy"
_TOP = re.compile(r"top_([1-9][0-9]{0,8})_accuracy")
_CLASSES: tuple[Objective, ...] = ("classification",)
_NUMBERS: tuple[Objective, ...] = ("regression",)


@dataclass(frozen=True)
class Measure:
    """A metric: the objectives that it applies to, and whether a larger value is the better one."""

    objectives: tuple[Objective, ...]
    larger: bool


MEASURES: Mapping[str, Measure] = {
    "accuracy": Measure(_CLASSES + LANGUAGE, True),
    # K is written as a number: top_5_accuracy
    TOP_K: Measure(_CLASSES, True),
    "balanced_accuracy": Measure(_CLASSES, True),
    "macro_f1": Measure(_CLASSES, True),
    "roc_auc": Measure(_CLASSES, True),
    "log_loss": Measure(_CLASSES, False),
    "calibration_error": Measure(_CLASSES, False),
    "mean_squared_error": Measure(_NUMBERS, False),
    "mean_absolute_error": Measure(_NUMBERS, False),
    "r2": Measure(_NUMBERS, True),
    "perplexity": Measure(LANGUAGE, False),
}


def larger_is_better(name: str) -> bool:
    """Return which way a metric is better; the loss, which every evaluation has, is one too."""
    return name != LOSS and MEASURES[find(name)[0]].larger


def better(name: str, new: float | None, old: float | None, min_delta: float = 0.0) -> bool:
    """Return whether ``new`` improves on ``old`` by more than ``min_delta``.

    Any number improves on None and NaN; neither of these improves on anything.
    """
    if new is None or isnan(new):
        return False
    if old is None or isnan(old):
        return True
    return new > old + min_delta if larger_is_better(name) else new < old - min_delta


def validate(names: Sequence[str], objective: Objective, classes: int | None = None) -> None:
    """Check the names of metrics; the loss is always one.

    Args:
        names: what the user wrote.
        objective: the network's.
        classes: outputs of a row; None where they are not known yet.

    Raises:
        SpecError: a metric is unknown or given twice, does not apply to the objective, or asks for
            the K best of fewer than K classes; the message has a line for each.
    """
    lines: dict[str, None] = {}
    for name in names:
        if name == LOSS:
            continue
        try:
            _, arguments = find(name, objective)
        except SpecError as error:
            lines[str(error)] = None
            continue
        if arguments and classes is not None and arguments[0] > classes:
            lines[
                f"metric {name!r}: there {'is' if classes == 1 else 'are'} only {classes} "
                f"class{'' if classes == 1 else 'es'}; allowed: K from 1 to {classes}"
            ] = None
        if names.count(name) > 1:
            lines[f"metric {name!r}: given {names.count(name)} times; name it once"] = None
    if lines:
        raise SpecError("\n".join(lines))


def find(name: str, objective: Objective | None = None) -> tuple[str, tuple[int, ...]]:
    """Return the key in ``MEASURES`` of a name, and the arguments that the name has.

    Raises:
        SpecError: there is none, or none for the objective.
    """
    top = _TOP.fullmatch(name)
    key = TOP_K if top else name
    metric = MEASURES[TOP_K] if top else MEASURES.get(name) if name != TOP_K else None
    if metric is not None and objective in (None, *metric.objectives):
        return key, (int(top[1]),) if top else ()
    names = [n for n, m in MEASURES.items() if objective in (None, *m.objectives)]
    listed = ", ".join(names) + (" (K a number from 1)" if TOP_K in names else "")
    if metric is not None:
        raise SpecError(
            f"metric {name!r}: it applies to {' and '.join(metric.objectives)}, but the objective "
            f"is {objective}; allowed: {listed}"
        )
    guess = nearest(name[:60], ["top_5_accuracy" if n == TOP_K else n for n in names])
    allowed = f"Allowed for {objective}" if objective else "Allowed"
    raise SpecError(f"metric {name[:60]!r}: unknown.{guess} {allowed}: {listed}")
