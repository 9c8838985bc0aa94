"""Stored examples on the device, and the network inputs and labels that a plan makes of them.

Examples stay as they came (uint8 images are a quarter of their float32 size) and channels last: a
row is then one piece of memory to gather, a crop window is made by indexing alone, hence exact,
and the channels-last convolutions want that order anyway. Operations that would change nothing
are left out; on small networks each one is a noticeable share of a step.
"""

from __future__ import annotations

from collections.abc import Hashable
from copy import copy
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from paribus.adapter import Array
from paribus.architectures import LANGUAGE, Objective
from paribus.errors import DataError
from paribus.plan import EvalPlan, TrainPlan, center


@dataclass(frozen=True)
class Examples:
    """A dataset handle: x and y as they were put (see ``paribus.adapter.Session.put``)."""

    x: Tensor
    y: Tensor | None


# Bytes that are copied through pinned memory, which the process keeps once it has it.
PINNED_BYTES = 256 << 20


def tensor(array: Array, device: torch.device) -> Tensor:
    """Return a tensor of ``array`` on ``device``; on the CPU it shares memory where it can.

    To a GPU it is copied while the host goes on: from pinned memory, which PyTorch does not use
    again before it has been read.
    """
    host = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    if device.type == "cuda" and 0 < host.nbytes <= PINNED_BYTES:
        return host.pin_memory().to(device, non_blocking=True)
    return host.to(device)


def source(array: Array) -> Tensor:
    """Return a tensor of ``array`` that is read alone, on the CPU; it shares memory.

    PyTorch takes no array that may not be written to, and ``tensor`` copies one.
    """
    if array.flags.writeable and array.flags.c_contiguous:
        return torch.from_numpy(array)
    return torch.from_numpy(np.asarray(_Readable(np.ascontiguousarray(array))))


class _Readable:
    """An array's memory, which NumPy takes to be writable; it stays as long as this does."""

    def __init__(self, array: Array) -> None:
        self._array = array
        pointer, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (pointer, False)}


class Batches:
    """The inputs and labels of one plan.

    Args:
        examples: the dataset handle.
        plan: says which rows of it, and what becomes of them.
        objective: says what their labels are.
        dtype: of inputs and of labels that are no class numbers.
        channels_last: memory order of image inputs; their shape is [b, C, H, W] either way.
    """

    def __init__(
        self,
        examples: Examples,
        plan: TrainPlan | EvalPlan,
        objective: Objective,
        dtype: torch.dtype,
        channels_last: bool,
    ) -> None:
        self._x, self._dtype, self._channels_last = examples.x, dtype, channels_last
        self._objective = objective
        preprocess, augmentation = plan.preprocess, getattr(plan, "augmentation", None)
        device, self._preprocess = examples.x.device, preprocess
        self._scale = self._constant(preprocess.scale, 1.0)
        self._shift = self._constant(preprocess.shift, 0.0)
        self._length = preprocess.length
        stored = cast(tuple[int, int], tuple(examples.x.shape[1:3]))
        self._pad: tuple[int, ...] | None = None
        self._augmented = augmentation is not None and examples.x.ndim == 4
        draws: list[npt.NDArray[np.int64]] = []
        if augmentation is not None and examples.x.ndim == 4:
            a, (height, width) = augmentation, preprocess.crop or stored
            self._rows = torch.arange(height, device=device)
            self._columns = torch.arange(width, device=device)
            self._flips = bool(a.flip_horizontal.any()), bool(a.flip_vertical.any())
            self._outside = bool(
                min(a.top.min(), a.left.min()) < 0
                or a.top.max() + height > stored[0]
                or a.left.max() + width > stored[1]
            )
            flips = a.flip_horizontal.astype(np.int64), a.flip_vertical.astype(np.int64)
            draws = [a.top, a.left, *flips]
        elif preprocess.crop is not None and preprocess.crop != stored:
            (height, width), (top, left) = preprocess.crop, center(stored, preprocess.crop)
            # Padding by a negative number cuts: one call for windows inside and outside.
            self._pad = (0, 0, -left, left + width - stored[1], -top, top + height - stored[0])
        # Everything that says which numbers to read goes over in one transfer.
        self._draws = tensor(np.stack([plan.indices, *draws]), device)
        self._indices = self._draws[0]
        self._labels: Tensor | None = None
        if examples.y is not None and objective not in LANGUAGE:
            self._labels = examples.y[self._indices]
        self._targets: tuple[Tensor, ...] | None = None
        if plan.targets is not None:
            t = plan.targets
            places = np.arange(t.positions.shape[-1])
            counted = places < t.counts[..., None]
            arrays: tuple[Array, ...] = (t.tokens, t.positions, t.labels, counted)
            self._targets = tuple(tensor(array, device) for array in arrays)

    @property
    def kind(self) -> Hashable:
        """What batches of different plans must agree in to be read by the same operations."""
        shapes = [None if one is None else one.shape[1:] for one in (self._draws[0], self._labels)]
        targets = [] if self._targets is None else [one.shape[1:] for one in self._targets]
        flags = (self._flips, self._outside) if self._augmented else None
        return self._preprocess, self._pad, flags, *shapes, *targets

    def room(self, places: int) -> Batches:
        """Return memory for batches like these of so many steps."""

        def like(part: Tensor, axis: int = 0) -> Tensor:
            return part.new_zeros(*part.shape[:axis], places, *part.shape[axis + 1 :])

        found = copy(self)
        found._draws = like(self._draws, 1)
        found._indices = found._draws[0]
        found._labels = None if self._labels is None else like(self._labels)
        found._targets = None if self._targets is None else tuple(map(like, self._targets))
        return found

    def take(self, other: Batches, first: int, count: int) -> None:
        """Become some steps of other batches of the same kind, in the same memory."""
        steps = slice(first, first + count)
        self._draws[:, :count].copy_(other._draws[:, steps])
        if self._labels is not None and other._labels is not None:
            self._labels[:count].copy_(other._labels[steps])
        for mine, theirs in zip(self._targets or (), other._targets or (), strict=True):
            mine[:count].copy_(theirs[steps])

    def one(self, at: Tensor) -> Batches:
        """Return the batches of one step; ``at`` int64 [1] says which, on the device."""
        found = copy(self)
        found._draws = self._draws.index_select(1, at)
        found._indices = found._draws[0]
        if self._labels is not None:
            found._labels = self._labels.index_select(0, at)
        if self._targets is not None:
            found._targets = tuple(part.index_select(0, at) for part in self._targets)
        return found

    def inputs(self, *at: int | slice) -> Tensor:
        """Return network inputs for the rows at ``indices[at]``.

        They are [b, C, H, W], [b, features], or token numbers [b, T] or [b, T, 2], int64.
        """
        if self._targets is not None:
            return self._targets[0][at].long()
        if self._augmented:
            x = self._window(self._draws[(slice(None), *at)])
        else:
            x = self._x.index_select(0, self._indices[at])
            if self._pad is not None:
                x = F.pad(x, self._pad)
        if x.dtype == torch.int32:
            return (x if self._length is None else x[:, : self._length]).long()
        # The gathered rows are ours, so the arithmetic is in place.
        x = x.to(self._dtype)
        if self._scale is not None:
            x = x.mul_(self._scale)
        if self._shift is not None:
            x = x.sub_(self._shift)
        if x.ndim == 2:
            return x
        x = x.permute(0, 3, 1, 2)
        # A copy even where one channel, or one pixel, leaves the order open: kernels are chosen by
        # the strides.
        return x if self._channels_last else x.clone(memory_format=torch.contiguous_format)

    def positions(self, *at: int | slice) -> Tensor | None:
        """Return what is predicted, int64 [b, M]; None for everything."""
        return None if self._targets is None else self._targets[1][at]

    def labels(self, *at: int | slice) -> tuple[Tensor, Tensor | None]:
        """Return labels, and which predictions count where not all do; see ``losses``.

        Raises:
            DataError: the examples were put without labels that the objective needs.
        """
        if self._targets is not None:
            return self._targets[2][at], self._targets[3][at]
        if self._objective == "causal_lm" and self._length is not None:
            rows = self._x.index_select(0, self._indices[at])
            return rows[:, 1 : self._length + 1].long(), None
        if self._labels is None:
            raise DataError(
                "training and evaluation need labels (or targets), but this data was put without"
            )
        return self._labels[at], None

    def _window(self, draws: Tensor) -> Tensor:
        rows, top, left, horizontal, vertical = draws.unsqueeze(-1)
        i = top + _reversed(self._rows, vertical, self._flips[1])
        j = left + _reversed(self._columns, horizontal, self._flips[0])
        if not self._outside:
            return self._x[rows.unsqueeze(-1), i.unsqueeze(2), j.unsqueeze(1)]
        height, width = self._x.shape[1:3]
        inside_i, inside_j = (i >= 0) & (i < height), (j >= 0) & (j < width)
        i, j = i.clamp(0, height - 1), j.clamp(0, width - 1)
        x = self._x[rows.unsqueeze(-1), i.unsqueeze(2), j.unsqueeze(1)]
        inside = inside_i.unsqueeze(2) & inside_j.unsqueeze(1)
        return x.masked_fill_(~inside.unsqueeze(-1), 0)

    def _constant(self, values: tuple[float, ...], neutral: float) -> Tensor | float | None:
        if all(value == neutral for value in values):
            return None
        if len(values) == 1:
            return values[0]
        return torch.tensor(values, dtype=self._dtype, device=self._x.device)


def _reversed(positions: Tensor, flip: Tensor, any_flip: bool) -> Tensor:
    """Return positions [b, n], counted from the other end where ``flip`` [b, 1] is 1."""
    return positions + flip * (len(positions) - 1 - 2 * positions) if any_flip else positions
