"""Forward and backward passes and updates of one module, in the way that a ``Setup`` says.

Nothing in a step waits for the device: losses and norms stay there until ``Pending.result()``. The
backward pass starts from the rows' own losses with the plan's weights as their gradient, which is
the weighted sum's gradient without computing the sum. Padding rows are cut off on the host, where
their number is known, so that neither BatchNorm nor the clock sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paribus.adapter import Numerics, Task
from paribus.architectures import Network
from paribus.backends.torch import captured, recordings, settings
from paribus.backends.torch.backward import backward
from paribus.backends.torch.batches import Batches, Examples, tensor
from paribus.backends.torch.captured import Results
from paribus.backends.torch.flat import Flat
from paribus.backends.torch.losses import row_losses
from paribus.backends.torch.memory import memory
from paribus.backends.torch.models import Model
from paribus.backends.torch.placed import Placed
from paribus.errors import one_example
from paribus.optimizers import RULES
from paribus.plan import EvalPlan, StepResults, TrainPlan

NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
# Inputs and positions → outputs.
Forward = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Setup:
    """What may be computed in one way or another.

    Attributes:
        bfloat16: whether convolutions and products are.
        channels_last: the order of images in memory.
        threads: of a CPU; 0 leaves it to the work (``settings.applied``).
        captured: whether steps are recorded and played (``captured``), where they can be.
        tf32: whether a GPU's products in float32 read 10 bits of their factors' fractions.
        narrow: whether convolutions alone compute in bfloat16 (``narrow``).
    """

    bfloat16: bool
    channels_last: bool
    threads: int = 0
    captured: bool = False
    tf32: bool = False
    narrow: bool = False


@dataclass(frozen=True)
class Steps:
    """Steps under way: the rows' losses [K, S, b] and the norms [K], still on the device."""

    losses: Tensor
    norms: Tensor | None
    weights: npt.NDArray[np.float64]

    @memory
    def result(self) -> StepResults:
        """Wait; the sums are taken on the host, in float64 on every device."""
        losses = self.losses.cpu().numpy().astype(np.float64)
        norms = None if self.norms is None else self.norms.cpu().numpy().astype(np.float64)
        return StepResults((losses * self.weights).sum(axis=(1, 2)), norms)


class _At(NamedTuple):
    """A step of a plan: its number, the real rows of its shards, and the keys of its noise."""

    step: int
    counts: list[int]
    keys: Any

    @classmethod
    def of(cls, plan: TrainPlan, step: int, counts: list[list[int]]) -> Self:
        """Return a plan's step; ``counts`` are the plan's, as lists."""
        return cls(step, counts[step], None if plan.noise is None else plan.noise[step])


class Stepper:
    """A module that is trained and evaluated.

    Attributes:
        setup: how; see ``change``.
        flat, placed: the parameters' memory, and the module that computes with it.
        changes: how often the weights have changed so far.
        recordings: of steps and of batches that are evaluated.
    """

    def __init__(
        self,
        network: Network,
        task: Task,
        model: Model,
        device: torch.device,
        dtype: torch.dtype,
        numerics: Numerics,
        setup: Setup,
    ) -> None:
        self.network, self.model, self.device, self.dtype = network, model, device, dtype
        self.setup, self.changes = setup, 0
        self._task, self._numerics = task, numerics
        self.multiplications = settings.multiplications(network)
        self.flat = self._memory(setup)
        self.placed = Placed(network, task, model, self.flat, device, dtype, setup.channels_last)
        self.recordings = recordings.Recordings()
        self._scalars = (*RULES[task.rule].scalars, *(("clip_norm",) if task.clips else ()))

    def _memory(self, setup: Setup) -> Flat:
        shapes = {name: self.network.tensors[name].shape for name in self._task.trainable}
        decayed, rule = frozenset(self._task.decayed), RULES[self._task.rule]
        return Flat(shapes, decayed, rule, self.dtype, self.device, setup.channels_last)

    def change(self, setup: Setup) -> None:
        """Compute in another way from now on, with the same weights and slots."""
        if setup.channels_last != self.setup.channels_last:
            flat = self._memory(setup)
            flat.take(self.flat)
            self.placed.move(flat, setup.channels_last)
            self.flat = flat
            # What was recorded computes on the other memory.
            self.recordings.clear()
        if setup.narrow != self.setup.narrow:
            self.placed.narrow(setup.narrow)
            self.recordings.clear()
        self.setup = setup

    def run(self, handle: Examples, plan: TrainPlan) -> Steps:
        """Queue K steps."""
        batches, row_weights, losses = self._prepare(handle, plan)
        self.changes += 1
        norms = torch.zeros(plan.steps, dtype=self.dtype, device=self.device)
        out, counts = Results(losses, norms), plan.counts.tolist()
        with self.computing(plan.indices.shape[-1]):
            if self.device.type == "cuda" or self.setup.captured:
                self._on_device(handle, plan, counts, batches, row_weights, out)
            else:
                scalars = {name: values.tolist() for name, values in plan.scalars.items()}
                for step in range(plan.steps):
                    own = {name: values[step] for name, values in scalars.items()}
                    self._step(batches, _At.of(plan, step, counts), row_weights, out, own)
        return Steps(losses, norms if self._task.norms else None, plan.weights)

    def _on_device(
        self,
        handle: Examples,
        plan: TrainPlan,
        counts: list[list[int]],
        batches: Batches,
        row_weights: Tensor,
        out: Results,
    ) -> None:
        """Make a plan's steps with scalars that are on the device, played where they can be.

        A number and a tensor are not multiplied alike everywhere, and no bit may depend on which
        steps are played: a training that goes on begins with some that are not.
        """
        scalars = captured.columns(plan, self._scalars, row_weights)
        keys = None if plan.noise is None else tensor(plan.noise, self.device)
        given, rows = captured.Steps(batches, row_weights, scalars, keys), scalars.unbind()
        for first, number in recordings.stretches(counts):
            played = self._played(handle, plan, counts[first], given, (first, number), out)
            for step in range(first + played, first + number):
                own = dict(zip(self._scalars, rows[step].unbind(), strict=True))
                self._step(batches, _At.of(plan, step, counts), row_weights, out, own)

    def _played(
        self,
        handle: Examples,
        plan: TrainPlan,
        counts: list[int],
        given: captured.Steps,
        which: tuple[int, int],
        out: Results,
    ) -> int:
        """Play a stretch of a plan's steps; return how many of them: the first ones, or none."""
        drawn = plan.noise is not None and self._task.native_noise
        if drawn or not self.plays(plan.indices.shape[-1]):
            return 0
        key = self.setup, recordings.key(counts, plan, given.batches)

        def work(one: captured.Steps, out: Sequence[Tensor]) -> None:
            keys = None if one.keys is None else one.keys[0]
            scalars = dict(zip(self._scalars, one.scalars[0].unbind(), strict=True))
            self._step(one.batches, _At(0, counts, keys), one.weights, Results(*out), scalars)

        def begin() -> captured.Captured[captured.Steps]:
            return captured.Captured(handle, given, out, work, self.placed.noise.held_memory)

        return self.recordings.play(key, handle, begin, given, which, out)

    def plays(self, rows: int) -> bool:
        """Return whether work on so many rows is recorded and played, where it can be."""
        small = rows * self.multiplications <= captured.LARGE
        return self.setup.captured and small and not self.model.own

    def _step(
        self,
        batches: Batches,
        at: _At,
        row_weights: Tensor,
        out: Results,
        scalars: Mapping[str, Any],
    ) -> None:
        task, flat = self._task, self.flat
        self._backward(batches, at, row_weights, out.losses)
        if task.clips or task.norms:
            norm = torch.linalg.vector_norm(flat.gradient)
            out.norms[at.step] = norm
            if task.clips:
                flat.clip(norm, scalars["clip_norm"])
        flat.update(scalars)

    def gradients(self, handle: Examples, plan: TrainPlan) -> tuple[float, dict[str, Tensor]]:
        """Return the first step's loss, and its gradients until the next step; change nothing."""
        batches, row_weights, losses = self._prepare(handle, plan)
        with self.placed.unchanged(), self.computing(plan.indices.shape[-1]):
            at = _At.of(plan, 0, plan.counts.tolist())
            self._backward(batches, at, row_weights, losses)
        self.flat.gather()
        return float(Steps(losses, None, plan.weights).result().losses[0]), self.flat.gradients

    def outputs(
        self, handle: Examples, plan: EvalPlan, training: bool, forward: Forward | None = None
    ) -> Iterator[tuple[Batches, tuple[int, slice], Tensor]]:
        """Yield where each batch's real rows are and their outputs, without gradients.

        Args:
            handle, plan: what is read.
            training: the module's mode.
            forward: instead of the module's own forward pass.
        """
        self.placed.mode(training)
        batches = self.batches(handle, plan)
        compute = forward or self.forward
        for batch, count in enumerate(plan.counts.tolist()):
            at = (batch, slice(count))
            with torch.inference_mode(), self.computing(count):
                outputs = compute(batches.inputs(*at), batches.positions(*at))
            yield batches, at, outputs

    def losses(self, outputs: Tensor, labels: Tensor, counted: Tensor | None) -> Tensor:
        """Return the rows' losses [b]."""
        objective, smoothing = self.network.objective, self._task.label_smoothing
        return row_losses(objective, outputs, labels, counted, smoothing)

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        """Return the module's outputs in the parameters' precision."""
        if not self.setup.bfloat16:
            return self.model.logits(self.placed.module, x, positions)
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.model.logits(self.placed.module, x, positions).float()

    def computing(self, rows: int) -> AbstractContextManager[None]:
        """Compute batches of so many rows under the settings of the process that they need."""
        work = rows * self.multiplications
        setup = self.setup
        return settings.applied(self._numerics, self.device, work, setup.threads, tf32=setup.tf32)

    def _prepare(self, handle: Examples, plan: TrainPlan) -> tuple[Batches, Tensor, Tensor]:
        """Move a plan over: its batches, the rows' weights and room for the rows' losses."""
        if self.placed.pointwise and bool((plan.counts == 1).any()):
            raise one_example(self.placed.pointwise[0])
        self.placed.mode(training=True)
        batches = self.batches(handle, plan)
        row_weights = tensor(plan.weights.astype(NUMPY[self.dtype]), self.device)
        losses = torch.zeros(plan.indices.shape, dtype=self.dtype, device=self.device)
        return batches, row_weights, losses

    def _backward(self, batches: Batches, at: _At, row_weights: Tensor, losses: Tensor) -> None:
        """Leave a step's summed gradient in the flat buffer and its rows' losses in ``losses``."""
        self.flat.begin()
        first = 0
        for shard, count in enumerate(at.counts):
            own = (at.step, shard, slice(count))
            if at.keys is None:
                outputs = self.forward(batches.inputs(*own), batches.positions(*own))
            else:
                with self.placed.noise.drawn(at.keys, first):
                    outputs = self.forward(batches.inputs(*own), batches.positions(*own))
            first += count
            rows = self.losses(outputs, *batches.labels(*own))
            backward(rows, row_weights[own])
            losses[own].copy_(rows.detach())

    def batches(self, handle: Examples, plan: TrainPlan | EvalPlan) -> Batches:
        """Return the inputs and labels of a plan."""
        objective, last = self.network.objective, self.setup.channels_last
        return Batches(handle, plan, objective, self.dtype, last)
