"""A hypothesis, how much of a difference it leaves, and the numeric fit of an epsilon."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import floor, log10

import numpy as np

from paribus.adapter import Array

Tensors = Mapping[str, Array]
# The share of a difference that an explanation may leave: rounding of a small difference.
LEFT = 1e-4
# What is searched for an epsilon, as powers of ten.
SMALLEST, LARGEST = -16.0, 0.5


@dataclass(frozen=True)
class Guess:
    """A hypothesis: in words, and what it predicts by name."""

    text: str
    predicted: Tensors


@dataclass(frozen=True)
class Explanation:
    """The hypothesis that explains a difference.

    Attributes:
        text: what was done instead of the definition.
        left: the share of the difference that it leaves, from 0 (nothing) to 1 (everything), in
            the L2 norm.
    """

    text: str
    left: float


def explain(actual: Tensors, definition: Tensors, guesses: Iterable[Guess]) -> Explanation | None:
    """Return the hypothesis that leaves least, if that is next to nothing.

    Args:
        actual: what was computed, by name; definition: what the definitions give.
        guesses: tried one by one; of equals the first counts.
    """
    whole = gap(definition, actual)
    if whole == 0.0 or not np.isfinite(whole):
        return None
    best: Explanation | None = None
    for guess in guesses:
        left = gap(guess.predicted, actual) / whole
        if left <= LEFT and (best is None or left < best.left):
            best = Explanation(guess.text, left)
    return best


def gap(left: Tensors, right: Tensors) -> float:
    """Return the L2 norm of the difference; ∞ where shapes differ or values are not finite."""
    total = 0.0
    for name, array in right.items():
        other = left[name]
        if other.shape != array.shape:
            return float("inf")
        with np.errstate(over="ignore", invalid="ignore"):
            total += float(((other - array) ** 2).sum())
    return float(np.sqrt(total)) if np.isfinite(total) else float("inf")


def fitted_epsilon(predict: Callable[[float], Tensors], actual: Tensors) -> tuple[float, Tensors]:
    """Return the epsilon whose prediction is nearest, and the prediction.

    One of a single digit (1e-3, 5e-6) is preferred where it is as near.
    """
    from scipy.optimize import minimize_scalar

    def distance(power: float) -> float:
        found = gap(predict(float(10.0**power)), actual)
        return found if np.isfinite(found) else 1e300

    powers = np.linspace(SMALLEST, LARGEST, 34)
    start = float(powers[int(np.argmin([distance(float(power)) for power in powers]))])
    found = minimize_scalar(
        distance, bounds=(start - 0.5, start + 0.5), method="bounded", options={"xatol": 1e-13}
    )
    epsilon = float(10.0**found.x)
    round_one = single_digit(epsilon)
    predicted = predict(epsilon)
    nice = predict(round_one)
    # A digit more of the fit is rounding; a tenth of a percent off would be another number.
    if abs(round_one / epsilon - 1.0) < 1e-3 and gap(nice, actual) <= 2 * gap(predicted, actual):
        return round_one, nice
    return epsilon, predicted


def single_digit(value: float) -> float:
    """Return a number rounded to its first digit."""
    return float(f"{value:.0e}") if value > 0 else 0.0


def power_of_ten(value: float) -> bool:
    """Whether a number is a power of ten, but for rounding."""
    return value > 0 and abs(log10(value) - floor(log10(value) + 0.5)) < 1e-4
