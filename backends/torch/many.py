"""The steps of many replicas: one after the other, or on a GPU recorded and played.

A step of replicas is a step of all that are in a computation, whoever of them is asked: where bits
would depend on who is there, as on a GPU, the computation always has the same size and reads the
same kinds of arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from paribus.adapter import Array, Task
from paribus.architectures import Network
from paribus.backends.torch.batches import tensor
from paribus.backends.torch.captured import chosen, copied, rooms
from paribus.backends.torch.chain import Chain, Keys
from paribus.backends.torch.grouped import Grouped
from paribus.backends.torch.losses import weighted_losses
from paribus.backends.torch.stacked import Part, Stacked
from paribus.backends.torch.stored import Rows
from paribus.optimizers import RULES
from paribus.plan import TrainPlan

Scalars = Mapping[str, Tensor | float]


class Computation(NamedTuple):
    """What steps change: some replicas' rows, all tensors [r, …] by name, and the gradients'."""

    part: Part
    tensors: Mapping[str, Tensor]
    found: Mapping[str, Tensor]


class ManySteps(NamedTuple):
    """What K steps read; see ``paribus.backends.torch.captured.Played``.

    Attributes:
        rows: of K steps.
        weights: of the rows, [K, S, r, b]; one replica's where all share them.
        scalars: [K, r, 1] each, in the order of ``Many.scalars``.
        keys: of noise, int32 [K, r, L, 2]; begins: where shards do, int32 [K, S, r, 1].
    """

    rows: Rows
    weights: Tensor
    scalars: tuple[Tensor, ...]
    keys: Tensor | None
    begins: Tensor | None

    def room(self, places: int) -> ManySteps:
        """See ``Played``."""
        weights, keys, begins = rooms(places, self.weights, self.keys, self.begins)
        scalars = tuple(rooms(places, *self.scalars))
        return ManySteps(self.rows.room(places), weights, scalars, keys, begins)

    def take(self, other: ManySteps, first: int, count: int) -> None:
        """See ``Played``."""
        self.rows.take(other.rows, first, count)
        copied(self.parts, other.parts, first, count)

    def one(self, at: Tensor) -> ManySteps:
        """See ``Played``."""
        weights, keys, begins = chosen(at, self.weights, self.keys, self.begins)
        return ManySteps(self.rows.one(at), weights, tuple(chosen(at, *self.scalars)), keys, begins)

    @property
    def parts(self) -> Sequence[Tensor | None]:
        """All tensors but the rows'."""
        return (self.weights, *self.scalars, self.keys, self.begins)


class Many:
    """Makes steps of a part of the replicas.

    Attributes:
        chain: the passes.
        scalars: names of what an update reads.
    """

    def __init__(
        self,
        network: Network,
        task: Task,
        chain: Chain | Grouped,
        stacked: Stacked,
        dtype: torch.dtype,
    ) -> None:
        self._network, self._task, self.chain = network, task, chain
        self._stacked = stacked
        self._numpy = np.dtype("float64" if dtype == torch.float64 else "float32")
        self._rule = RULES[task.rule].scalars
        self.scalars = (*self._rule, *(("clip_norm",) if task.clips else ()))

    def given(
        self, rows: Rows, plans: Sequence[TrainPlan], device: torch.device, *, scalars: bool
    ) -> ManySteps:
        """Return what the steps of plans read, on the device; scalars if they are to be there."""
        weights = tensor(self.stack([plan.weights for plan in plans]), device)
        names = self.scalars if scalars else ()
        columns = tuple(self._column(plans, name, device) for name in names)
        return ManySteps(rows, weights, columns, *self.keys(plans, device))

    def stack(self, arrays: Sequence[Array]) -> Array:
        """Return weights [K, S, r, b]; one replica's where all share them."""
        if all(array is arrays[0] for array in arrays):
            arrays = arrays[:1]
        return np.stack(arrays, axis=2).astype(self._numpy)

    def columns(
        self, plans: Sequence[TrainPlan], device: torch.device
    ) -> dict[str, Sequence[float] | Tensor]:
        """Return each scalar of the steps: numbers [K], or [K, r, 1] where replicas differ."""
        found: dict[str, Sequence[float] | Tensor] = {}
        for name in self.scalars:
            stacked = np.stack([plan.scalars[name] for plan in plans], axis=1)
            alike = bool((stacked == stacked[:, :1]).all())
            found[name] = stacked[:, 0].tolist() if alike else self._column(plans, name, device)
        return found

    def _column(self, plans: Sequence[TrainPlan], name: str, device: torch.device) -> Tensor:
        stacked = np.stack([plan.scalars[name] for plan in plans], axis=1)
        return tensor(stacked.astype(self._numpy)[..., None], device)

    def keys(
        self, plans: Sequence[TrainPlan], device: torch.device
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return keys int32 [K, r, L, 2] and where shards begin int32 [K, S, r, 1]."""
        first = plans[0]
        if first.noise is None:
            return None, None
        some = plans[:1] if all(plan.noise is first.noise for plan in plans) else plans
        keys = np.stack([plan.noise for plan in some if plan.noise is not None], axis=1)
        counts = np.stack([plan.counts for plan in some], axis=2)
        begins = (np.cumsum(counts, axis=1) - counts)[..., None]
        return tensor(keys, device), tensor(begins.astype(np.int32), device)

    def step(
        self,
        rows: Rows,
        k: int,
        counts: Sequence[int],
        row_weights: Tensor,
        scalars: Scalars,
        drawn: tuple[Tensor | None, Tensor | None],
        own: Computation,
        losses: Tensor,
        norms: Tensor,
    ) -> None:
        """Make one step.

        Args:
            rows: what is read; k: the step's number there.
            counts: the real rows of its shards, where moments are taken of them alone.
            row_weights: [S, r, b].
            scalars: the step's own; drawn: its keys [r, L, 2], and where shards begin [S, r, 1].
            own: what it changes.
            losses: room for the rows' [S, r, b]; norms: for the gradients' [r, 1].
        """
        task, (part, tensors, found) = self._task, own
        keys, begins = drawn
        for s, count in enumerate(counts):
            drops = None
            if keys is not None and begins is not None:
                named = {name: keys[:, i] for i, name in enumerate(self._network.noisy)}
                drops = Keys(named, begins[s])
            real = slice(count)
            outputs = self.chain.forward(rows.inputs(k, s)[:, real], tensors, drops, training=True)
            by = weighted_losses(
                self._network.objective, outputs, rows.labels(k, s)[:, real],
                row_weights[s][:, real], task.label_smoothing, losses[s][:, real],
            )  # fmt: skip
            self.chain.backward(by, tensors, found, more=s > 0)
        if task.clips or task.norms:
            length = torch.linalg.vector_norm(part.gradient, dim=1, keepdim=True)
            norms.copy_(length)
            if task.clips:
                factor: Any = scalars["clip_norm"] / (length + 1e-6)
                part.gradient.mul_(factor.clamp_(max=1.0))
        self._stacked.update(part, {name: scalars[name] for name in self._rule})

    def work(
        self, own: Computation, counts: Sequence[int]
    ) -> Callable[[ManySteps, Sequence[Tensor]], None]:
        """Return what makes the one step that it is given."""

        def make(one: ManySteps, out: Sequence[Tensor]) -> None:
            losses, norms = out
            scalars = dict(zip(self.scalars, (value[0] for value in one.scalars), strict=True))
            self.step(
                one.rows, 0, counts, one.weights[0], scalars, _at((one.keys, one.begins), 0), own,
                losses[0], norms[0],
            )  # fmt: skip

        return make

    def beside(self, computation: Computation) -> Computation:
        """Return memory of the same shapes, of its own."""
        part = computation.part
        like = torch.zeros_like
        room = Part(
            like(part.weights), like(part.gradient), tuple(map(like, part.slots)), part.rows, True
        )
        frozen = {
            name: like(value)
            for name, value in computation.tensors.items()
            if name not in computation.found
        }
        tensors = {**self._stacked.views(room.weights), **frozen}
        return Computation(room, tensors, self._stacked.views(room.gradient))

    def each(
        self,
        given: ManySteps,
        counts: Sequence[Sequence[int]],
        scalars: Mapping[str, Sequence[float] | Tensor],
        which: Sequence[int],
        own: Computation,
        out: tuple[Tensor, Tensor],
    ) -> None:
        """Make some steps of K one after the other.

        Args:
            given: what is read; ``scalars`` instead of its own.
            counts: of every step; which: the numbers of those that are made.
            own: what they change.
            out: losses [K, S, r, b] and norms [K, r, 1].
        """
        losses, norms = out
        for k in which:
            some = {name: column[k] for name, column in scalars.items()}
            drawn = _at((given.keys, given.begins), k)
            self.step(
                given.rows, k, counts[k], given.weights[k], some, drawn, own, losses[k], norms[k]
            )


def _at(drawn: tuple[Tensor | None, Tensor | None], k: int) -> tuple[Tensor | None, Tensor | None]:
    keys, begins = drawn
    return None if keys is None else keys[k], None if begins is None else begins[k]
