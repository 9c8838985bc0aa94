"""What a node may have computed instead of its definition: of other tensors, or in another way."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from paribus.adapter import Array
from paribus.verifying.explaining.operations import OPERATIONS
from paribus.verifying.explaining.places import Compute, Place

AXES = ("out", "in", "height", "width")


def variants(place: Place) -> Iterator[tuple[str, Compute]]:
    """Yield what may have been done instead, in words and as a computation of the inputs."""
    node = place.node
    for name, array in place.own.items():
        yield from _of_tensor(place, name, array)
    yield from OPERATIONS.get(node.op, _none)(place)
    yield f"{node.name} ({node.op}) is left out: its input passes unchanged", lambda x: x[0]


def _none(place: Place) -> Iterator[tuple[str, Compute]]:
    return iter(())


def _of_tensor(place: Place, name: str, array: Array) -> Iterator[tuple[str, Compute]]:
    norm = place.node.op in ("batch_norm", "layer_norm")
    if name.endswith("bias"):
        yield (
            f"{name} is dropped: the output is that of a bias of zero",
            place.given({name: np.zeros_like(array)}),
        )
    elif norm:
        yield (
            f"{name} is dropped: the output is that of a scale of one",
            place.given({name: np.ones_like(array)}),
        )
    else:
        yield (
            f"{name} is dropped: the output is that of zeros",
            place.given({name: np.zeros_like(array)}),
        )
    if array.ndim == 2:
        square = array.shape[0] == array.shape[1]
        how = "transposed" if square else "in the other order of its axes, rows for columns"
        yield f"{name} is read {how}", place.given({name: array.T.reshape(array.shape)})
    if array.ndim == 4:
        for axes in permutations(range(4)):
            if axes != (0, 1, 2, 3):
                order = ", ".join(AXES[axis] for axis in axes)
                moved = np.ascontiguousarray(array.transpose(axes)).reshape(array.shape)
                yield (
                    f"{name} is read as if its axes were stored ({order})",
                    place.given({name: moved}),
                )
        turned = np.ascontiguousarray(array[:, :, ::-1, ::-1])
        yield (
            f"{name} is turned by 180°: a convolution, not a cross-correlation",
            place.given({name: turned}),
        )
