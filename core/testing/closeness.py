"""How far two arrays, or two sets of tensors, are apart, and what is said when it is too far."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from paribus.testing.data import Array

# A tensor that is all but zero (the bias of attention's keys has no gradient but rounding) is
# measured by the largest tensor beside it, a thousandth of it.
FLOOR = 1e-3


def distance(left: Mapping[str, Array] | Array, right: Mapping[str, Array] | Array) -> float:
    """Return the largest difference, relative to the largest value of the tensor it is in.

    Raises:
        AssertionError: other names, another order, or other shapes.
    """
    if not isinstance(left, Mapping) or not isinstance(right, Mapping):
        left, right = {"": np.asarray(left)}, {"": np.asarray(right)}
    return max(distances(left, right).values(), default=0.0)


def distances(left: Mapping[str, Array], right: Mapping[str, Array]) -> dict[str, float]:
    """Return each tensor's distance by name; the errors of ``distance``."""
    assert list(left) == list(right), f"tensors {list(left)} instead of {list(right)}"
    for name in right:
        shapes = np.shape(left[name]), np.shape(right[name])
        assert shapes[0] == shapes[1], f"{name or 'array'}: shape {shapes[0]}, not {shapes[1]}"
    sizes = {name: float(np.abs(array).max(initial=0.0)) for name, array in right.items()}
    floor = FLOOR * max(sizes.values(), default=0.0)
    found = {}
    for name, array in right.items():
        apart = np.abs(np.asarray(left[name], np.float64) - np.asarray(array, np.float64))
        # NaN is far from everything; an all-zero set has no scale of its own.
        largest = float(apart.max(initial=0.0)) if not np.isnan(apart).any() else np.inf
        found[name] = largest / (max(sizes[name], floor) or 1.0)
    return found


def agree(
    found: Mapping[str, Array] | Array,
    expected: Mapping[str, Array] | Array,
    tolerance: float,
    what: str,
) -> None:
    """Require ``found`` within ``tolerance`` of ``expected``; the message says where and how far.

    Raises:
        AssertionError: it names the tensors that are furthest.
    """
    __tracebackhide__ = True
    if not isinstance(found, Mapping) or not isinstance(expected, Mapping):
        found, expected = {"": np.asarray(found)}, {"": np.asarray(expected)}
    apart = distances(found, expected)
    far = sorted((far for far in apart.items() if far[1] > tolerance), key=lambda item: -item[1])
    if far:
        listed = ", ".join(f"{name or 'it'} by {by:.1e}" for name, by in far[:5])
        more = f" and {len(far) - 5} more" if len(far) > 5 else ""
        raise AssertionError(
            f"{what}: {listed}{more} of the largest value; allowed is {tolerance:.0e}"
        )
