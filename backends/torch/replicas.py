"""Many replicas of a small network trained together (``paribus.replicas``).

A call's replicas are taken some at a time: as many as have their weights, slots and activations in
a core's cache, and they stay there for all K steps. One thread computes each: products of this
size gain little from two, and with one a product's bits do not depend on what is beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from math import prod
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from paribus import weights
from paribus.adapter import Array, Numerics, Precision, Task, Tensors
from paribus.architectures import Network
from paribus.backends.torch import settings
from paribus.backends.torch.chain import LAYERS, Chain
from paribus.backends.torch.grouped import Grouped
from paribus.backends.torch.many import Computation, Many
from paribus.backends.torch.memory import memory
from paribus.backends.torch.playing import Playing
from paribus.backends.torch.stacked import Part, Stacked
from paribus.backends.torch.stored import Rows, Store, shared, store
from paribus.errors import WeightsError, one_example
from paribus.grouping import ROWS, Groups
from paribus.optimizers import RULES
from paribus.plan import EvalPlan, StepResults, TrainPlan
from paribus.replicas import Replicas

Plan = TypeVar("Plan", TrainPlan, EvalPlan)
# Bytes that the replicas of a group may take: of 1.5 to 16 MiB, what was fastest for small
# networks on cores with 2 MiB of cache.
GROUP_BYTES = 8 << 20
# The same on a GPU, where one computation has to be large.
CUDA_BYTES = 1 << 30
# Networks with convolutions in a computation of a GPU. 200 of them took 0.9 of the time of 60 at a
# time and 0.5 of that of 15; more were not measured.
CUDA_CONVOLUTIONS = 200
# Bytes of a batch from which on it is better read once than copied for each replica. (Two groups at
# a time, a thread each, took longer: half of a step is Python.)
LARGE_BATCH = 1 << 18
# Of networks with convolutions, replicas of a computation: five folds; or, where there are as many,
# fifteen, which take 1.15 to 1.7 × less each.
TOGETHER = (5, 15)
# Replicas with the same batches that are worth a group of their own.
FEW = 8


class TorchReplicas(Replicas):
    """See ``paribus.replicas.Replicas``."""

    @memory
    def __init__(
        self,
        network: Network,
        task: Task,
        count: int,
        device: str,
        precision: Precision,
        numerics: Numerics,
    ) -> None:
        self._network, self._task, self._numerics = network, task, numerics
        self._device = torch.device(device)
        self._dtype = torch.float64 if precision == "float64" else torch.float32
        self._numpy = np.dtype("float64" if precision == "float64" else "float32")
        self._cuda = self._device.type == "cuda"
        activations = sum(int(np.prod(node.shape)) for node in network.nodes)
        self._activations = 2 * activations * self._dtype.itemsize
        self._fixed = self._groups_of(count)
        self._chain = Chain(network, task) if chained(network) else Grouped(network, task)
        places = count if self._fixed is None else self._fixed.count * self._fixed.size
        self._stacked = Stacked(network, task, places, self._dtype, self._device)
        self._many = Many(network, task, self._chain, self._stacked, self._dtype)
        self._play = Playing(self._many)
        self.remarks = self._play.remarks
        moving = [
            node for node in network.nodes
            if node.op == "batch_norm" and f"{node.name}.running_mean" in self._chain.moving
        ]  # fmt: skip
        self._pointwise = [node.name for node in moving if prod(node.shape[1:]) == 1]
        self._slots = RULES[task.rule].slots
        self._tensors = (3 + len(self._slots)) * self._stacked.width * self._dtype.itemsize

    @memory
    def import_weights(self, replica: int, tensors: Tensors) -> None:
        """Copy values into the replica's rows."""
        weights.check(tensors, weights.shapes(self._network))
        self._stacked.load(replica, tensors)

    def export_weights(self, replica: int) -> dict[str, Array]:
        """Return copies in canonical order."""
        found = self._stacked.held(replica)
        return {name: _array(found[name]) for name in self._network.tensors}

    def import_optimizer(self, replica: int, slots: Mapping[str, Tensors]) -> None:
        """Copy values into the replica's slots."""
        if set(slots) != set(self._slots):
            raise WeightsError(
                f"optimizer state has the slots {sorted(slots)}; the rule {self._task.rule!r} "
                f"needs {sorted(self._slots)}"
            )
        shapes = {name: self._network.tensors[name].shape for name in self._task.trainable}
        for slot, values in slots.items():
            weights.check(values, shapes, f"optimizer state {slot}")
            self._stacked.load_slot(slot, replica, values)

    def export_optimizer(self, replica: int) -> dict[str, dict[str, Array]]:
        """Return copies of the slots."""
        return {
            slot: {name: _array(v) for name, v in self._stacked.held_slot(slot, replica).items()}
            for slot in self._slots
        }

    @memory
    def put(self, x: Array, y: Array | None) -> Store:
        """Place examples."""
        kind = self._numpy if self._network.objective == "regression" else np.int64
        return store(x, y, kind, self._device)

    @memory
    def train_steps(self, handle: Store, plans: Mapping[int, TrainPlan]) -> dict[int, StepResults]:
        """Make K steps, group by group."""
        if self._pointwise and any(bool((plan.counts == 1).any()) for plan in plans.values()):
            raise one_example(self._pointwise[0])
        found: dict[int, StepResults] = {}
        with settings.applied(self._numerics, self._device, 0):
            for rows, given, asked in self._parts(plans):
                part = self._stacked.part(rows, apart=self._fixed is not None)
                own = self._train(handle, part, given, asked)
                found |= {row: own[row] for row in asked}
                self._stacked.put_back(part, asked)
        return {replica: found[replica] for replica in plans}

    @memory
    def predict(self, handle: Store, plans: Mapping[int, EvalPlan]) -> dict[int, Array]:
        """Return outputs, group by group."""
        found: dict[int, Array] = {}
        with settings.applied(self._numerics, self._device, 0):
            for rows, own, asked in self._parts(plans):
                objective = self._network.objective
                batches = Rows(handle, own, objective, self._dtype, apart=self._cuda)
                tensors = self._tensors_of(self._stacked.part(rows))
                outputs = [
                    self._chain.forward(batches.inputs(m), tensors)
                    for m in range(len(own[0].counts))
                ]
                stacked = torch.stack(outputs, dim=1).cpu().numpy()
                for row, plan, array in zip(rows, own, stacked, strict=True):
                    real = np.arange(plan.indices.shape[1]) < plan.counts[:, None]
                    if row in asked:
                        found[row] = array[real]
        return {replica: found[replica] for replica in plans}

    def free(self, handle: Store) -> None:
        """Let go of examples."""
        if hasattr(self, "_stacked"):
            self._play.free(handle)

    def close(self) -> None:
        """Free the memory."""
        if hasattr(self, "_stacked"):
            self._play.clear()
            del self._stacked, self._chain, self._many

    def _groups_of(self, count: int) -> Groups | None:
        """Return the groups that are always computed as a whole; None where there need be none.

        The bits of a grouped convolution depend on how many groups there are, and on the place; on
        a GPU those of every product do.
        """
        if not self._cuda:
            if chained(self._network):
                return None
            size = max(one for one in TOGETHER if one <= max(count, TOGETHER[0]))
            return Groups(-(-count // size), size)
        tensors = (3 + len(RULES[self._task.rule].slots)) * self._network.parameter_count
        each = tensors * self._dtype.itemsize + ROWS * self._activations
        most = max(1, CUDA_BYTES // each)
        number = -(-count // (most if chained(self._network) else min(most, CUDA_CONVOLUTIONS)))
        return Groups(number, -(-count // number))

    def _parts(
        self, plans: Mapping[int, Plan]
    ) -> Iterator[tuple[Sequence[int], list[Plan], Collection[int]]]:
        """Yield what is one computation: replicas, ascending, the plan of each, and who is asked.

        Where groups are fixed all of one are computed; those that have no plan, or one of another
        kind, by another's, and what comes of that is nobody's.
        """
        if self._fixed is None:
            for rows in self._groups(plans):
                yield rows, [plans[row] for row in rows], rows
            return
        for group, own in self._fixed.asked(plans, self._kind):
            first, members = next(iter(own.values())), self._fixed.members(group)
            yield members, [own.get(replica, first) for replica in members], own

    def _kind(self, plan: TrainPlan | EvalPlan) -> tuple[Any, ...]:
        """Return what the plans of one computation agree in."""
        counts = plan.counts.tobytes() if self._chain.moving else b""
        return plan.indices.shape, plan.preprocess, counts

    def _groups(
        self, plans: Mapping[int, TrainPlan] | Mapping[int, EvalPlan]
    ) -> Iterator[list[int]]:
        """Yield replicas to be computed together, ascending.

        They agree in what the inputs are made of. Those with the same batches are together where
        they are many, or the batches large.
        """

        def batches(row: int) -> tuple[Any, ...]:
            return *self._kind(plans[row]), shared(plans[row])

        order: dict[tuple[Any, ...], list[int]] = {}
        for row in sorted(plans):
            order.setdefault(batches(row), []).append(row)
        mixed: dict[tuple[Any, ...], list[int]] = {}
        for kind, rows in order.items():
            plan = plans[rows[0]]
            b = plan.indices.shape[-1]
            size = b * int(np.prod(self._network.input_shape)) * self._dtype.itemsize
            together = max(1, GROUP_BYTES // (self._tensors + b * self._activations))
            drawn = getattr(plan, "augmentation", None) is not None
            if drawn or len(rows) >= FEW or size >= LARGE_BATCH:
                for start in range(0, len(rows), together):
                    yield rows[start : start + together]
            else:
                mixed.setdefault((together, *kind[:-1]), []).extend(rows)
        for (together, *_), rows in mixed.items():
            rows.sort()
            for start in range(0, len(rows), together):
                yield rows[start : start + together]

    def _train(
        self, handle: Store, part: Part, plans: Sequence[TrainPlan], asked: Container[int]
    ) -> dict[int, StepResults]:
        first, device = plans[0], self._device
        steps, shards, b = first.indices.shape
        rows = Rows(handle, plans, self._network.objective, self._dtype, apart=self._cuda)
        given = self._many.given(rows, plans, device, scalars=self._cuda)
        own = self._computation(part)
        losses = torch.empty((steps, shards, len(plans), b), dtype=self._dtype, device=device)
        norms = torch.zeros((steps, len(plans), 1), dtype=self._dtype, device=device)
        counts = [[b] * shards] * steps
        if self._chain.moving:
            # Moments are taken of rows that are there.
            losses.zero_()
            counts = first.counts.tolist()
        out = losses, norms
        if self._cuda:
            self._play.train(handle, given, counts, own, out)
        else:
            columns = self._many.columns(plans, device)
            self._many.each(given, counts, columns, range(steps), own, out)
        at = [place for place, row in enumerate(part.rows) if row in asked]
        for name in self._chain.moving:
            self._stacked.frozen[name][[part.rows[place] for place in at]] = own.tensors[name][at]
        sums = losses.cpu().numpy().astype(np.float64)
        lengths = norms.cpu().numpy().astype(np.float64) if self._task.norms else None
        # Row by row, then shard by shard: in one go the order would depend on who else is there.
        weighted = (
            (sums * np.stack([plan.weights for plan in plans], axis=2)).sum(axis=3).sum(axis=1)
        )
        return {
            row: StepResults(
                weighted[:, i].copy(), None if lengths is None else lengths[:, i, 0].copy()
            )
            for i, row in enumerate(part.rows)
        }

    def _computation(self, part: Part) -> Computation:
        return Computation(part, self._tensors_of(part), self._stacked.views(part.gradient))

    def _tensors_of(self, part: Part) -> dict[str, Tensor]:
        frozen = self._stacked.frozen.items()
        rows = list(part.rows)
        return {**self._stacked.views(part.weights), **{n: t[rows] for n, t in frozen}}


def chained(network: Network) -> bool:
    """Return whether a network is a chain of layers whose passes are written out."""
    return network.operations <= set(LAYERS)


def _array(value: Tensor) -> Array:
    """Return a copy as a contiguous NumPy array."""
    return np.array(value.cpu().numpy(), order="C")
