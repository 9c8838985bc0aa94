"""K optimizer steps on a ``torch.nn.Module``; every adapter of PyTorch models shares this session.

Nothing in a step waits for the device: losses and norms stay there until ``Pending.result()``. The
backward pass starts from the rows' own losses with the plan's weights as their gradient, which is
the weighted sum's gradient without computing the sum. Padding rows are cut off on the host, where
their number is known, so that neither BatchNorm nor the clock sees them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from paribus import weights
from paribus.adapter import Array, Numerics, Precision, Session, Task, Tensors
from paribus.architectures import Network
from paribus.backends.torch import settings
from paribus.backends.torch.batches import Batches, Examples, tensor
from paribus.backends.torch.flat import Flat
from paribus.backends.torch.losses import right, row_losses
from paribus.backends.torch.models import Model
from paribus.backends.torch.observing import Observed
from paribus.backends.torch.placed import Placed
from paribus.belongings import NOTHING, Belongings
from paribus.errors import Unsupported, WeightsError
from paribus.optimizers import RULES
from paribus.plan import EvalPlan, StepResults, Sums, TrainPlan


@dataclass(frozen=True)
class Steps:
    """Steps under way: the rows' losses [K, S, b] and the norms [K], still on the device."""

    losses: Tensor
    norms: Tensor | None
    weights: npt.NDArray[np.float64]

    def result(self) -> StepResults:
        """Wait; the sums are taken on the host, in float64 on every device."""
        losses = self.losses.cpu().numpy().astype(np.float64)
        norms = None if self.norms is None else self.norms.cpu().numpy().astype(np.float64)
        return StepResults((losses * self.weights).sum(axis=(1, 2)), norms)


class TorchSession(Session):
    """A session on any module that ``Model`` describes."""

    def __init__(
        self,
        network: Network,
        task: Task,
        model: Model,
        device: str,
        precision: Precision,
        numerics: Numerics,
    ) -> None:
        self._network, self._task, self._model = network, task, model
        self._device = torch.device(device)
        self._dtype = torch.float64 if precision == "float64" else torch.float32
        self._bfloat16 = precision == "bfloat16"
        on_cpu, images = self._device.type == "cpu", len(network.input_shape) == 3
        # oneDNN is fastest channels last and repeats to the bit; cuDNN's deterministic float32
        # kernels are not, and float64 on a CPU is not oneDNN's.
        self._channels_last = (
            images
            # The user's own code may rely on the usual order (x.view(n, -1)).
            and not model.own
            and self._dtype == torch.float32
            and (on_cpu or (self._device.type == "cuda" and numerics == "fast"))
        )
        shapes = {name: network.tensors[name].shape for name in task.trainable}
        self._flat = Flat(shapes, frozenset(task.decayed), RULES[task.rule], self._dtype,
                          self._device, self._channels_last)  # fmt: skip
        self._placed = Placed(network, task, model, self._flat, self._device, self._dtype,
                              self._channels_last)  # fmt: skip
        self._numerics = numerics
        self._multiplications = settings.multiplications(network)
        self._open = True
        settings.prepare(numerics, self._device)

    def import_weights(self, tensors: Tensors) -> None:
        """Copy values into the module and the flat buffer."""
        weights.check(tensors, weights.shapes(self._network))
        with torch.no_grad():
            for name, target in self._placed.tensors.items():
                target.copy_(tensor(tensors[name], torch.device("cpu")))
            self._placed.restart()
        self._flat.reset()

    def export_weights(self) -> dict[str, Array]:
        """Return copies in canonical layout."""
        return {name: _array(value) for name, value in self._placed.tensors.items()}

    def import_optimizer(self, slots: Mapping[str, Tensors]) -> None:
        """Copy values into the flat slots."""
        own = self._flat.slots
        shapes = {f"{slot}/{n}": tuple(t.shape) for slot, v in own.items() for n, t in v.items()}
        given = {f"{slot}/{n}": array for slot, v in slots.items() for n, array in v.items()}
        weights.check(given, shapes, "optimizer state")
        if set(slots) != set(own):
            raise WeightsError(
                f"optimizer state has the slots {sorted(slots)}; the rule {self._task.rule!r} "
                f"needs {sorted(own)}"
            )
        for slot, views in own.items():
            for name, target in views.items():
                target.copy_(tensor(slots[slot][name], torch.device("cpu")))

    def export_optimizer(self) -> dict[str, dict[str, Array]]:
        """Return copies of the slots."""
        return {
            slot: {name: _array(value) for name, value in views.items()}
            for slot, views in self._flat.slots.items()
        }

    def put(self, x: Array, y: Array | None) -> Examples:
        """Place examples; on the CPU the arrays' own memory is used where it can be."""
        dtype = _NUMPY[self._dtype] if self._network.objective == "regression" else np.int64
        labels = None if y is None else tensor(y.astype(dtype, copy=False), self._device)
        return Examples(tensor(x, self._device), labels)

    def train_steps(self, handle: Examples, plan: TrainPlan) -> Steps:
        """Queue K steps."""
        task, flat = self._task, self._flat
        batches, row_weights, losses = self._prepare(handle, plan)
        norms = torch.empty(plan.steps, dtype=self._dtype, device=self._device)
        scalars = {name: values.tolist() for name, values in plan.scalars.items()}
        with self._computing(plan.indices.shape[-1]):
            for step in range(plan.steps):
                self._backward(batches, plan, step, row_weights, losses)
                if task.clips or task.norms:
                    norm = torch.linalg.vector_norm(flat.gradient)
                    norms[step] = norm
                    if task.clips:
                        flat.clip(norm, scalars["clip_norm"][step])
                flat.update({name: values[step] for name, values in scalars.items()})
        return Steps(losses, norms if task.norms else None, plan.weights)

    def evaluate(self, handle: Examples, plan: EvalPlan) -> Sums:
        """Return sums; the losses are added up in float64 on the host."""
        objective, losses, correct, predictions = self._network.objective, [], [], 0
        for batches, at, outputs in self._outputs(handle, plan, training=False):
            labels, counted = batches.labels(*at)
            losses.append(self._losses(outputs, labels, counted))
            correct.append(right(objective, outputs, labels, counted))
            predictions += labels.numel() if objective == "causal_lm" else len(labels)
        if plan.targets is not None:
            real = np.arange(plan.indices.shape[1]) < plan.counts[:, None]
            predictions = int(plan.targets.counts[real].sum())
        total = torch.cat(losses).cpu().numpy().astype(np.float64)
        return Sums(float(total.sum()), int(torch.stack(correct).sum()), predictions)

    def predict(self, handle: Examples, plan: EvalPlan) -> Array:
        """Return logits in evaluation mode."""
        return _array(torch.cat([x for *_, x in self._outputs(handle, plan, training=False)]))

    def forward(self, handle: Examples, plan: EvalPlan, *, training: bool) -> Array:
        """Return logits; in training mode each batch is normalised by itself."""
        with self._placed.unchanged():
            return _array(torch.cat([x for *_, x in self._outputs(handle, plan, training)]))

    def activations(self, handle: Examples, plan: EvalPlan, *, training: bool) -> dict[str, Array]:
        """Return what the module lets hooks see of its nodes, and the outputs as the last one."""
        seen = Observed(self._network, self._placed.module, self._model.names)
        with self._placed.unchanged(), seen.hooks():
            for *_, outputs in self._outputs(handle, plan, training):
                seen.batch(outputs)
        return seen.values()

    def gradients(self, handle: Examples, plan: TrainPlan) -> tuple[float, dict[str, Array]]:
        """Return loss and gradients of the first step."""
        batches, row_weights, losses = self._prepare(handle, plan)
        with self._placed.unchanged(), self._computing(plan.indices.shape[-1]):
            self._backward(batches, plan, 0, row_weights, losses)
        loss = Steps(losses, None, plan.weights).result().losses[0]
        return float(loss), {name: _array(g) for name, g in self._flat.gradients.items()}

    def native(self) -> nn.Module:
        """Return a copy of the plain module, in evaluation mode, every parameter free."""
        return self._placed.copy()

    def save_native(self, folder: Path, belongings: Belongings = NOTHING) -> Path:
        """Write the native module's files."""
        return self._model.save(self.native(), folder, belongings)

    def close(self) -> None:
        """Free the memory."""
        if self._open:
            self._open = False
            del self._placed, self._flat
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _prepare(self, handle: Examples, plan: TrainPlan) -> tuple[Batches, Tensor, Tensor]:
        """Move a plan over: its batches, the rows' weights and room for the rows' losses."""
        if self._placed.pointwise and bool((plan.counts == 1).any()):
            raise Unsupported(
                f"a shard of one example: {self._placed.pointwise[0]!r} sees one value per "
                "channel, which has no variance to normalise with; choose a batch size or number "
                "of shards that leaves no single example, or larger images"
            )
        self._placed.mode(training=True)
        batches = self._batches(handle, plan)
        row_weights = tensor(plan.weights.astype(_NUMPY[self._dtype]), self._device)
        losses = torch.zeros(plan.indices.shape, dtype=self._dtype, device=self._device)
        return batches, row_weights, losses

    def _backward(
        self, batches: Batches, plan: TrainPlan, step: int, row_weights: Tensor, losses: Tensor
    ) -> None:
        """Leave a step's summed gradient in the flat buffer and its rows' losses in ``losses``."""
        self._flat.gradient.zero_()
        keys, first = None if plan.noise is None else plan.noise[step], 0
        for shard, count in enumerate(plan.counts[step].tolist()):
            at = (step, shard, slice(count))
            with self._placed.noise.drawn(keys, first):
                outputs = self._forward(batches.inputs(*at), batches.positions(*at))
            first += count
            rows = self._losses(outputs, *batches.labels(*at))
            # The same gradient as of the rows with these weights given, to the bit; but PyTorch
            # imports symbolic algebra for gradients that are given, which takes half a second.
            torch.autograd.backward((rows * row_weights[at]).sum())
            losses[at] = rows.detach()

    def _losses(self, outputs: Tensor, labels: Tensor, counted: Tensor | None) -> Tensor:
        objective, smoothing = self._network.objective, self._task.label_smoothing
        return row_losses(objective, outputs, labels, counted, smoothing)

    def _batches(self, handle: Examples, plan: TrainPlan | EvalPlan) -> Batches:
        objective = self._network.objective
        return Batches(handle, plan, objective, self._dtype, self._channels_last)

    def _computing(self, rows: int) -> AbstractContextManager[None]:
        return settings.applied(self._numerics, self._device, rows * self._multiplications)

    def _forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        if not self._bfloat16:
            return self._model.logits(self._placed.module, x, positions)
        with torch.autocast(self._device.type, torch.bfloat16):
            return self._model.logits(self._placed.module, x, positions).float()

    def _outputs(
        self, handle: Examples, plan: EvalPlan, training: bool
    ) -> Iterator[tuple[Batches, tuple[int, slice], Tensor]]:
        """Yield where each batch's real rows are and their outputs, without gradients."""
        self._placed.mode(training)
        batches = self._batches(handle, plan)
        for batch, count in enumerate(plan.counts.tolist()):
            at = (batch, slice(count))
            with torch.no_grad(), self._computing(count):
                outputs = self._forward(batches.inputs(*at), batches.positions(*at))
            yield batches, at, outputs


def _array(value: Tensor) -> Array:
    """Return a copy as a contiguous NumPy array."""
    return np.array(value.detach().cpu().numpy(), order="C")


_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
