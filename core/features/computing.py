"""Examples through a frozen body, in batches whose arithmetic is that of training.

A kernel is chosen by the shape of its batch, and the last rows of an odd number may go through
another one: measured, a batch of two rows has other last bits than one of 32 in products of
matrices, on every backend, and so has now and then the last row of six or of 17. So every batch
here has the same number of rows, filled up with others where they end; and for each shape that a
training's batches have, rows are computed in that shape and compared, bit by bit. Where a shape
differs, its steps compute what is frozen anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from paribus.adapter import Array, Session
from paribus.architectures import Network
from paribus.data.streamed import Examples, row_bytes
from paribus.feeding import CHUNK_BYTES
from paribus.inputs import Inputs
from paribus.plan import Augmentation, EvalPlan, Integers, Preprocess, TrainPlan

# Rows of a batch, where their arithmetic is that of a training's batches: enough for the kernels.
BATCH = 32
# Filled up rows of a batch that tell something of its arithmetic.
TELLING = 8
# Batches of a shape that are compared at most, and the multiply-adds that these may take.
MOST_PROBES, PROBING = 64, 2_000_000_000


@dataclass(frozen=True)
class Group:
    """Rows that are computed together.

    Attributes:
        rows: int64 [n], of the data set.
        width: tokens that they are padded to; None for other data.
        draws: each row's window and flips; None for the central window.
    """

    rows: Integers
    width: int | None = None
    draws: Augmentation | None = None


class Shape(NamedTuple):
    """A batch's: its rows, and the tokens that they are padded to (None for other data)."""

    rows: int
    width: int | None

    @property
    def name(self) -> str:
        """As an entry has it."""
        return str(self.rows) if self.width is None else f"{self.rows}x{self.width}"


def groups_of(rows: Integers, inputs: Inputs, copies: Sequence[Augmentation]) -> list[Group]:
    """Return what is computed: all rows as an evaluation reads them, then each of the copies.

    Args:
        rows: int64 [n].
        inputs: how they are read.
        copies: draws of the n rows.
    """
    if inputs.lengths is None:
        plain = [Group(rows)]
    else:
        fits = np.searchsorted(inputs.widths, inputs.lengths[rows])
        plain = [Group(rows[fits == place], inputs.widths[place]) for place in np.unique(fits)]
    return [*plain, *(Group(rows, None, draws) for draws in copies)]


class Body:
    """A session of a body that has its tensors, and the examples that it reads.

    In strict numerics features are computed in training mode, because that is what they are for and
    some kernels are used in evaluation alone; in fast as the session predicts, which it tunes.
    """

    def __init__(
        self, session: Session, network: Network, x: Examples, inputs: Inputs, strict: bool
    ) -> None:
        self._session, self._x, self._inputs, self._strict = session, x, inputs, strict
        self._cost = sum(
            prod(tensor.shape) * _times(network.node[tensor.node].shape)
            for tensor in network.tensors.values()
            if tensor.role == "weight"
        )
        # What filled up the last batch of a group: other places of rows that were computed before.
        self._filled: dict[int, tuple[int, Integers, Array]] = {}

    def compute(self, group: Group, batch: int) -> Iterator[Array]:
        """Yield the features of a group's rows in order, a bounded number at a time."""
        whole = self._inputs.preprocess.crop or self._x.shape[1:3]
        drawn = 4 * prod(whole) * self._x.shape[-1] if group.draws is not None else 0
        step = max(1, CHUNK_BYTES // (batch * max(row_bytes(self._x), drawn))) * batch
        count = len(group.rows)
        step = min(step, -(-count // batch) * batch)
        for start in range(0, count, step):
            # Always as many examples are put, so that nothing is compiled for fewer.
            places = (start + np.arange(step)) % count
            left = min(step, count - start)
            needed = -(-left // batch) * batch
            plan = np.arange(needed, dtype=np.int64).reshape(-1, batch)
            found = self._forward(group, places, plan)
            if needed - left >= TELLING and count > batch:
                self._filled[id(group)] = batch, places[left:needed], found[left:]
            yield found[:left]

    def probe(self, group: Group, shape: Shape) -> tuple[Integers, Array]:
        """Return places in a group and their features in batches of that shape.

        Each batch is spread over the group and moved on by one, so that its last rows are others.
        """
        count, filled = self._probes(group, shape), self._filled.get(id(group))
        if count == 1 and filled is not None and (filled[0], group.width) == tuple(shape):
            return filled[1:]
        spread = np.arange(shape.rows) * len(group.rows) // shape.rows
        places = (np.arange(count)[:, None] + spread).ravel() % len(group.rows)
        picked = Group(group.rows, shape.width, group.draws)
        indices = np.arange(len(places), dtype=np.int64).reshape(count, shape.rows)
        return places, self._forward(picked, places, indices)

    def _probes(self, group: Group, shape: Shape) -> int:
        """Return how many batches show whether a shape's arithmetic is the same.

        In sums of many terms another order shows at once, in sums of few only now and then; those
        cost little. Another order may come from the number of rows, or from a row's place among
        them: MKL's products in double precision round otherwise, on processors of AMD, where the
        numbers of an example do not begin at a multiple of 64 bytes.
        """
        most = min(MOST_PROBES, len(group.rows))
        return max(1, min(most, PROBING // max(1, shape.rows * self._cost)))

    def batches(self, plan: TrainPlan) -> Array:
        """Return the features of a plan's real rows, shard by shard as a training has them."""
        rows, preprocess = plan.indices.ravel(), plan.preprocess
        x = self._x[rows]
        if plan.augmentation is not None:
            flat = Augmentation(
                **{n: array.ravel() for n, array in vars(plan.augmentation).items()}
            )
            x = window(x, flat, np.arange(len(rows)), preprocess.crop)
            preprocess = Preprocess(preprocess.scale, preprocess.shift)
        handle = self._session.put(x, None)
        indices = np.arange(len(rows), dtype=np.int64).reshape(-1, plan.indices.shape[2])
        moved = EvalPlan(indices, plan.counts.ravel(), preprocess)
        return self._outputs(handle, moved)

    def _forward(self, group: Group, places: Integers, indices: Integers) -> Array:
        """Compute batches of what is at ``places`` of a group."""
        x, preprocess = self._x[group.rows[places]], self._inputs.preprocessing(group.width)
        if group.draws is not None:
            x = window(x, group.draws, places, preprocess.crop)
            preprocess = Preprocess(preprocess.scale, preprocess.shift)
        handle = self._session.put(x, None)
        counts = np.full(len(indices), indices.shape[1], dtype=np.int64)
        return self._outputs(handle, EvalPlan(indices, counts, preprocess))

    def _outputs(self, handle: Any, plan: EvalPlan) -> Array:
        """Return what the body computes of examples that are put, and let go of them."""
        if self._strict:
            found = self._session.forward(handle, plan, training=True)
        else:
            found = self._session.predict(handle, plan)
        self._session.free(handle)
        return found


def _times(shape: tuple[int, ...]) -> int:
    """Return how often a weight is used for one example: per pixel, or per token."""
    return shape[0] if len(shape) == 2 else prod(shape[1:])


def window(x: Array, draws: Augmentation, places: Integers, crop: tuple[int, int] | None) -> Array:
    """Return the windows of stored images [n, H, W, C], as ``plan.Augmentation`` defines them.

    Args:
        x: the images.
        draws: of more images than these.
        places: int64 [n], where in the draws each one's are.
        crop: (height, width) of a window; None for that of the images.
    """
    height, width = crop or (x.shape[1], x.shape[2])
    found = np.zeros((len(x), height, width, x.shape[3]), x.dtype)
    corners = zip(draws.top[places].tolist(), draws.left[places].tolist(), strict=True)
    for image, out, (top, left) in zip(x, found, corners, strict=True):
        first, last = max(0, top), min(x.shape[1], top + height)
        begin, end = max(0, left), min(x.shape[2], left + width)
        if first < last and begin < end:
            out[first - top : last - top, begin - left : end - left] = image[first:last, begin:end]
    flipped = draws.flip_vertical[places]
    found[flipped] = found[flipped, ::-1]
    flipped = draws.flip_horizontal[places]
    found[flipped] = found[flipped, :, ::-1]
    return found


def same(body: Body, group: Group, shape: Shape, stored: Callable[[Integers], Array]) -> bool:
    """Whether rows in batches of that shape have the features that are stored, bit by bit."""
    places, found = body.probe(group, shape)
    return found.tobytes() == stored(places).astype(found.dtype, copy=False).tobytes()
