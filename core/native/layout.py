"""One canonical tensor in another framework's layout, as data: a view, an order of axes, parts.

    canonical  →  a part of its first axis  →  reshaped to ``view``  →  transposed by ``axes``
               →  reshaped to the native shape

Nearly always only the axes differ: a convolution (O, I, H, W) is (2, 3, 1, 0) of it, a linear layer
(1, 0). A view is needed where one axis holds several: a linear layer after a flattened picture sees
its inputs in the order (C, H, W) in one framework and (H, W, C) in another. Parts are needed where
one framework keeps as one tensor what another keeps as several.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.architectures.network import Shape
from paribus.errors import WeightsError, listed

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Part:
    """Where (a part of) a canonical tensor is in a model, and how it lies there.

    Attributes:
        name: of the model's tensor.
        shape: of the model's tensor.
        axes: order of the axes of ``view`` there; None for the same.
        view: shape to read the canonical part in first; None for its own.
    """

    name: str
    shape: Shape
    axes: tuple[int, ...] | None = None
    view: Shape | None = None

    def problem(self, canonical: Shape) -> str | None:
        """Return why a canonical part of this shape cannot lie so, or None."""
        view = canonical if self.view is None else self.view
        if prod(view) != prod(canonical):
            return f"view {list(view)} has not as many values as its shape {list(canonical)}"
        axes = tuple(range(len(view))) if self.axes is None else self.axes
        if sorted(axes) != list(range(len(view))):
            return f"axes {list(axes)} are not those of {list(view)}"
        moved = tuple(view[axis] for axis in axes)
        if _squeezed(moved) != _squeezed(self.shape) and self.view is None:
            return f"{list(canonical)} becomes {list(moved)}, but {self.name} is {list(self.shape)}"
        if prod(moved) != prod(self.shape):
            return f"{list(canonical)} has not as many values as {self.name} {list(self.shape)}"
        return None

    def native(self, array: Array) -> Array:
        """Return a canonical part as the model keeps it."""
        viewed = array if self.view is None else array.reshape(self.view)
        moved = viewed if self.axes is None else viewed.transpose(self.axes)
        return np.ascontiguousarray(moved.reshape(self.shape))

    def canonical(self, array: Array, shape: Shape) -> Array:
        """Return the model's tensor as a canonical part of ``shape``."""
        view = shape if self.view is None else self.view
        axes = tuple(range(len(view))) if self.axes is None else self.axes
        moved = array.reshape([view[axis] for axis in axes]).transpose(np.argsort(axes))
        return np.ascontiguousarray(moved.reshape(shape))


Table = Mapping[str, tuple[Part, ...]]


def _squeezed(shape: Iterable[int]) -> list[int]:
    return [size for size in shape if size != 1]


def part_shape(shape: Shape, parts: int) -> Shape:
    """Return the shape of one of ``parts`` equal parts along the first axis."""
    return shape if parts == 1 else (shape[0] // parts, *shape[1:])


def problems(table: Table, shapes: Mapping[str, Shape]) -> list[str]:
    """Return a line for each canonical tensor that cannot lie where the table says."""
    lines = []
    for name, parts in table.items():
        shape = shapes[name]
        if len(parts) > 1 and (not shape or shape[0] % len(parts)):
            lines.append(f"{name} {list(shape)} has no {len(parts)} equal parts")
            continue
        each = part_shape(shape, len(parts))
        found = [problem for part in parts if (problem := part.problem(each)) is not None]
        lines += [f"{name}: {problem}" for problem in found]
    return lines


def to_native(table: Table, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return canonical tensors, some or all, under native names and in native layouts.

    Raises:
        WeightsError: a tensor that the table does not have.
    """
    extra = [name for name in tensors if name not in table]
    if extra:
        raise WeightsError(f"the network has no {listed(extra)}")
    found: dict[str, Array] = {}
    for name, array in tensors.items():
        parts = table[name]
        cuts = [array] if len(parts) == 1 else np.split(array, len(parts))
        for part, cut in zip(parts, cuts, strict=True):
            found[part.name] = part.native(cut)
    return found


def to_canonical(
    table: Table, shapes: Mapping[str, Shape], tensors: Mapping[str, Array]
) -> dict[str, Array]:
    """Return native tensors under canonical names; those that are not all there are left out."""
    found = {}
    for name, parts in table.items():
        if all(part.name in tensors for part in parts):
            each = part_shape(shapes[name], len(parts))
            pieces = [part.canonical(tensors[part.name], each) for part in parts]
            found[name] = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return found
