"""The session on a ``torch.nn.Module``; every adapter of PyTorch models shares it.

What happens in a step is in ``stepper``; how fast numerics choose between ways of computing, and
what they evaluate with, is in ``fast``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from paribus import weights
from paribus.adapter import Array, Numerics, Precision, Session, Task, Tensors
from paribus.architectures import Network
from paribus.backends.torch import settings
from paribus.backends.torch.batches import Examples, source, tensor
from paribus.backends.torch.fast import Fast
from paribus.backends.torch.looking import Look, judged, looks, seen
from paribus.backends.torch.memory import memory
from paribus.backends.torch.models import Model
from paribus.backends.torch.observing import Observed
from paribus.backends.torch.stepper import NUMPY, Forward, Setup, Stepper, Steps
from paribus.belongings import NOTHING, Belongings
from paribus.errors import WeightsError
from paribus.plan import EvalPlan, Sums, TrainPlan
from paribus.tuning import Choice, Tuning

T = TypeVar("T")


class TorchSession(Session):
    """A session on any module that ``Model`` describes."""

    @memory
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
        on_cpu, images = self._device.type == "cpu", len(network.input_shape) == 3
        # On a CPU kernels are faster channels last; cuDNN's deterministic ones in float32 are not.
        # The user's own code may rely on the usual order (x.view(n, -1)), and is not tried out.
        setup = Setup(
            bfloat16=precision == "bfloat16",
            channels_last=images and on_cpu and not model.own,
            captured=self._device.type == "cuda",
            tf32=numerics == "fast" and model.own,
        )
        self._stepper = Stepper(network, task, model, self._device, self._dtype, numerics, setup)
        # Those to come as well.
        self.remarks = self._stepper.recordings.remarks
        self._numerics = numerics
        self._fast: Fast | None = None
        self._open = True
        settings.prepare(numerics, self._device)

    def tune(self, tuning: Tuning) -> None:
        """Choose at the first steps, and at the first evaluation that is worth it."""
        # What the user's own code keeps besides its tensors could not be put back.
        if self._numerics == "fast" and not self._model.own:
            self._fast = Fast(self._stepper, self._task, tuning)

    @property
    def choices(self) -> list[Choice]:
        """What was chosen so far."""
        return [] if self._fast is None else self._fast.choices

    @memory
    def import_weights(self, tensors: Tensors) -> None:
        """Copy values into the module and the flat buffer."""
        weights.check(tensors, weights.shapes(self._network))
        with torch.no_grad():
            for name, target in self._stepper.placed.tensors.items():
                target.copy_(source(tensors[name]))
            self._stepper.placed.restart()
        self._stepper.flat.reset()
        self._stepper.changes += 1

    @memory
    def export_weights(self) -> dict[str, Array]:
        """Return copies in canonical layout."""
        return {name: _array(value) for name, value in self._stepper.placed.tensors.items()}

    def import_optimizer(self, slots: Mapping[str, Tensors]) -> None:
        """Copy values into the flat slots."""
        own = self._stepper.flat.slots
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
                target.copy_(source(slots[slot][name]))

    def export_optimizer(self) -> dict[str, dict[str, Array]]:
        """Return copies of the slots."""
        return {
            slot: {name: _array(value) for name, value in views.items()}
            for slot, views in self._stepper.flat.slots.items()
        }

    @memory
    def put(self, x: Array, y: Array | None) -> Examples:
        """Place examples; on the CPU the arrays' own memory is used where it can be."""
        dtype = NUMPY[self._dtype] if self._network.objective == "regression" else np.int64
        labels = None if y is None else tensor(y.astype(dtype, copy=False), self._device)
        return Examples(tensor(x, self._device), labels)

    def free(self, handle: Examples) -> None:
        """Let go of examples."""
        if self._open:
            self._stepper.recordings.free(handle)

    @memory
    def train_steps(self, handle: Examples, plan: TrainPlan) -> Steps:
        """Queue K steps."""
        if self._fast is not None:
            self._trying(lambda fast: fast.train(handle, plan))
        return self._stepper.run(handle, plan)

    @memory
    def evaluate(self, handle: Examples, plan: EvalPlan) -> Sums:
        """Return sums; the losses are added up in float64 on the host."""
        found = self._evaluated(handle, plan, judged)
        losses, correct = zip(*found, strict=True)
        predictions = int(plan.counts.sum())
        if plan.targets is not None:
            real = np.arange(plan.indices.shape[1]) < plan.counts[:, None]
            predictions = int(plan.targets.counts[real].sum())
        elif self._network.objective == "causal_lm":
            most = handle.x.shape[1] - 1
            predictions *= min(plan.preprocess.length or most, most)
        total = torch.cat(losses).cpu().numpy().astype(np.float64)
        return Sums(float(total.sum()), int(torch.stack(correct).sum()), predictions)

    @memory
    def predict(self, handle: Examples, plan: EvalPlan) -> Array:
        """Return logits in evaluation mode."""
        found = self._evaluated(handle, plan, seen)
        return _array(torch.cat([outputs for (outputs,) in found]))

    @memory
    def forward(self, handle: Examples, plan: EvalPlan, *, training: bool) -> Array:
        """Return logits; in training mode each batch is normalised by itself."""
        with self._stepper.placed.unchanged():
            found = looks(self._stepper, handle, plan, seen, training=training)
            return _array(torch.cat([outputs for (outputs,) in found]))

    @memory
    def activations(self, handle: Examples, plan: EvalPlan, *, training: bool) -> dict[str, Array]:
        """Return what the module lets hooks see of its nodes, and the outputs as the last one."""
        seen = Observed(self._network, self._stepper.placed.module, self._model.names)
        with self._stepper.placed.unchanged(), seen.hooks():
            for *_, outputs in self._stepper.outputs(handle, plan, training):
                seen.batch(outputs)
        return seen.values()

    @memory
    def gradients(self, handle: Examples, plan: TrainPlan) -> tuple[float, dict[str, Array]]:
        """Return loss and gradients of the first step."""
        loss, found = self._stepper.gradients(handle, plan)
        return loss, {name: _array(gradient) for name, gradient in found.items()}

    def native(self) -> nn.Module:
        """Return a copy of the plain module, in evaluation mode, every parameter free."""
        return self._stepper.placed.copy()

    def save_native(self, folder: Path, belongings: Belongings = NOTHING) -> Path:
        """Write the native module's files."""
        return self._model.save(self.native(), folder, belongings)

    def close(self) -> None:
        """Free the memory."""
        if self._open:
            self._open = False
            self._fast = None
            self._stepper.recordings.clear()
            del self._stepper
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _evaluated(
        self, handle: Examples, plan: EvalPlan, look: Look
    ) -> Iterator[Sequence[Tensor]]:
        """Yield what is made of each batch's outputs, computed in the way that was chosen."""
        forward: Forward | None = None
        if self._fast is not None:
            forward = self._trying(lambda fast: fast.evaluation(handle, plan))
        return looks(self._stepper, handle, plan, look, forward)

    def _trying(self, ask: Callable[[Fast], T]) -> T:
        """Ask the tuner; the time that trying takes is compiling's."""
        assert self._fast is not None
        start, before = time.perf_counter(), len(self._fast.choices)
        found = ask(self._fast)
        if len(self._fast.choices) > before:
            self.compile_seconds += time.perf_counter() - start
        return found


def _array(value: Tensor) -> Array:
    """Return a copy as a contiguous NumPy array."""
    return np.array(value.detach().cpu().numpy(), order="C")
