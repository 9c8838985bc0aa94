"""The rows that many replicas read: each batch gathered once for those that read the same one.

The folds of a search train every trial on the same batches. Where plans share their arrays, the
replicas' inputs are one [b, features] for all of them; and what stored examples become, a
plan's scale and shift applied, is computed for the whole data set once where that fits, and not
for every step.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from copy import copy
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paribus.adapter import Array
from paribus.architectures import Objective
from paribus.backends.torch.batches import Batches, Examples, tensor
from paribus.backends.torch.captured import chosen, copied, rooms
from paribus.errors import DataError
from paribus.plan import EvalPlan, Preprocess, TrainPlan

# Bytes of network inputs that are kept for a data set.
READY_BYTES = 256 << 20


@dataclass
class Store:
    """A dataset handle of replicas: the examples, and network inputs [N, features] made of them."""

    examples: Examples
    ready: dict[Preprocess, Tensor] = field(default_factory=dict)


class Rows:
    """What some replicas read, plan by plan of equal shapes.

    Args:
        store: the handle.
        plans: one a replica; all of one ``preprocess``, and of one object where ``augmentation``
            is given.
        objective: says what labels are.
        dtype: of inputs.
        apart: whether each has its own memory, also where all read the same.
    """

    def __init__(
        self,
        store: Store,
        plans: Sequence[TrainPlan] | Sequence[EvalPlan],
        objective: Objective,
        dtype: torch.dtype,
        apart: bool = False,
    ) -> None:
        self._examples, self._replicas = store.examples, len(plans)
        first = plans[0]
        self._alone = not apart and all(plan.indices is first.indices for plan in plans)
        augmented = getattr(first, "augmentation", None) is not None
        self._inputs = None if augmented else _ready(store, first, objective, dtype)
        if self._inputs is None:
            self._batches = Batches(store.examples, first, objective, dtype, channels_last=False)
        device = store.examples.x.device
        stacked = [first.indices] if self._alone else [plan.indices for plan in plans]
        # [K, S, r, b] and [M, r, b]: what one step reads lies together.
        self._indices = tensor(np.stack(stacked, axis=-2), device)
        y = store.examples.y
        self._labels = None if y is None else y[self._indices]

    def inputs(self, *at: int) -> Tensor:
        """Return [r, b, features] of a step's shard, or of a batch."""
        if self._inputs is None:
            x = self._batches.inputs(*at, slice(None)).flatten(1).unsqueeze(0)
        else:
            indices = self._indices[at]
            x = self._inputs.index_select(0, indices.view(-1)).view(*indices.shape, -1)
        return x.expand(self._replicas, -1, -1)

    @property
    def kind(self) -> Hashable | None:
        """What rows of different plans must agree in to be read by the same operations.

        None where they are read in another way than by their places alone.
        """
        if self._inputs is None:
            return None
        labels = None if self._labels is None else self._labels.shape[1:]
        return self._indices.shape[1:], labels, id(self._inputs)

    def room(self, places: int) -> Rows:
        """Return memory for rows like these of so many steps."""
        found = copy(self)
        found._indices, found._labels = rooms(places, self._indices, self._labels)
        return found

    def take(self, other: Rows, first: int, count: int) -> None:
        """Become some steps of other rows of the same kind, in the same memory."""
        copied((self._indices, self._labels), (other._indices, other._labels), first, count)

    def one(self, at: Tensor) -> Rows:
        """Return the rows of one step; ``at`` int64 [1] says which, on the device."""
        found = copy(self)
        found._indices, found._labels = chosen(at, self._indices, self._labels)
        return found

    def labels(self, *at: int) -> Tensor:
        """Return int64 [r, b], or [r, b, C] for regression; one replica's where all are equal.

        Raises:
            DataError: there are none.
        """
        if self._labels is None:
            raise DataError("training needs labels, but this data was put without")
        return self._labels[at]


def _ready(
    store: Store, plan: TrainPlan | EvalPlan, objective: Objective, dtype: torch.dtype
) -> Tensor | None:
    """Return the network's inputs for all examples [N, features]; None where they are too many."""
    known = store.ready.get(plan.preprocess)
    if known is not None:
        return known
    x = store.examples.x
    size = prod(plan.preprocess.crop or x.shape[1:3]) * x.shape[3] if x.ndim == 4 else x.shape[1]
    needed = len(x) * size * dtype.itemsize
    if needed > READY_BYTES:
        return None
    while store.ready and needed + sum(t.nbytes for t in store.ready.values()) > READY_BYTES:
        del store.ready[next(iter(store.ready))]
    every = EvalPlan(np.arange(len(x))[None], np.array([len(x)]), plan.preprocess)
    batches = Batches(store.examples, every, objective, dtype, channels_last=False)
    found = batches.inputs(0).flatten(1)
    store.ready[plan.preprocess] = found
    return found


def shared(plan: TrainPlan | EvalPlan) -> tuple[Any, ...]:
    """Return what tells plans apart that do not read the same batches."""
    return id(plan.indices), id(getattr(plan, "augmentation", None))


def store(x: Array, y: Array | None, dtype: Any, device: torch.device) -> Store:
    """Place examples; on the CPU the arrays' own memory is used where it can be."""
    labels = None if y is None else tensor(y.astype(dtype, copy=False), device)
    return Store(Examples(tensor(x, device), labels))
