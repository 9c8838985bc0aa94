"""Fast numerics: the ways of training and of evaluating that are tried, and what was chosen.

Trained is with products in float32, on a GPU in TF32, or in bfloat16 (autocast: parameters, norms,
loss and update stay float32), on a CPU with convolutions alone in bfloat16 (``narrow``); with
images in one order of memory or the other; on one thread or all; on a GPU with steps that are
recorded and played (``captured``) or without. Evaluated is with a copy of the module
(``inference``), for which BatchNorm may be folded as well; on a GPU large batches alone are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from paribus.adapter import Task
from paribus.architectures.folding import foldable
from paribus.backends.torch import narrow
from paribus.backends.torch.batches import Examples
from paribus.backends.torch.captured import WARM
from paribus.backends.torch.inference import Inference, Way
from paribus.backends.torch.settings import threads_for
from paribus.backends.torch.stepper import Forward, Setup, Stepper
from paribus.plan import EvalPlan, TrainPlan
from paribus.tuning import Answer, Axes, Choice, Setting, Settings, Subject, Tuning
from paribus.tuning.fast import About, Purpose

FLOAT, TF32, HALF = "float32", "tf32", "bfloat16"
# On a CPU, with everything else in float32.
NARROW = "bfloat16 convolutions"
# Rows of a batch whose outputs are compared.
COMPARED = 64


class Fast:
    """What one session has chosen; its stepper is changed accordingly.

    Attributes:
        choices: so far.
    """

    def __init__(self, stepper: Stepper, task: Task, tuning: Tuning) -> None:
        self._stepper, self._task, self._tuning = stepper, task, tuning
        self._strict = stepper.setup
        self._trained = False
        self._way: Way | None = None
        self._as_trained = False
        self._inference: Inference | None = None
        self.choices: list[Choice] = []

    def train(self, handle: Examples, plan: TrainPlan) -> None:
        """Choose how to train, at the first steps; every later step is computed in that way."""
        if self._trained:
            return
        axes = self._axes(plan.indices.shape[-1], training=True)
        if axes:
            stepper = self._stepper
            with unchanged(stepper):
                subject = self._subject("training", plan)
                choice = self._tuning.choose(
                    subject, axes, lambda: Training(stepper, self._strict, handle, plan)
                )
                stepper.change(setup(self._strict, choice.settings))
            self.choices.append(choice)
        self._trained = True

    def evaluation(self, handle: Examples, plan: EvalPlan) -> Forward | None:
        """Return how to evaluate a plan's batches; None: with the module that is trained."""
        stepper = self._stepper
        rows, network = plan.indices.shape[-1], stepper.network
        if stepper.plays(rows):
            # Launches are what such a batch takes, and of a copy they would be made anew.
            return None
        if self._way is None:
            if int(plan.counts.sum()) * stepper.multiplications < self._tuning.least_work:
                return None
            axes = self._axes(rows, training=False)
            if foldable(network):
                axes = {"folded": (False, True), **axes}
            if not axes:
                return None
            subject = self._subject("evaluation", plan)
            choice = self._tuning.choose(
                subject, axes, lambda: Evaluating(stepper, self._strict, handle, plan)
            )
            self.choices.append(choice)
            self._way = way(self._strict, choice.settings)
            self._as_trained = choice.settings == {axis: values[0] for axis, values in axes.items()}
        if self._as_trained:
            return None
        if self._inference is None or self._inference.changes != stepper.changes:
            self._inference = Inference(stepper, self._way)
        return self._inference.forward

    def _axes(self, rows: int, *, training: bool) -> Axes:
        """Return what can be chosen, strict numerics first."""
        stepper, strict = self._stepper, self._strict
        cuda = stepper.device.type == "cuda"
        axes: dict[str, tuple[Setting, ...]] = {}
        if stepper.dtype == torch.float32 and not strict.bfloat16:
            axes["products"] = (FLOAT, TF32, HALF) if cuda else (FLOAT, HALF)
            if training and not cuda and any(map(narrow.suits, stepper.placed.module.modules())):
                axes["products"] = (FLOAT, HALF, NARROW)
        if len(stepper.network.input_shape) == 3 and stepper.dtype == torch.float32:
            axes["channels_last"] = (strict.channels_last, not strict.channels_last)
        if cuda and training:
            axes["captured"] = (strict.captured, not strict.captured)
        every = torch.get_num_threads()
        if stepper.device.type == "cpu" and every > 1:
            fits = threads_for(rows * stepper.multiplications, stepper.device)
            axes["threads"] = (fits, every if fits == 1 else 1)
        return axes

    def _subject(self, purpose: Purpose, plan: TrainPlan | EvalPlan) -> Subject:
        stepper = self._stepper
        about = About(
            stepper.network, self._task, [str(stepper.device), torch.get_num_threads()],
            [str(stepper.dtype), self._strict.bfloat16], ("torch",),
            more={"module": type(stepper.placed.module).__name__},
        )  # fmt: skip
        return about.subject(purpose, plan)


def setup(strict: Setup, settings: Settings) -> Setup:
    """Return how to train by settings."""
    products = settings.get("products", HALF if strict.bfloat16 else FLOAT)
    return Setup(
        bfloat16=products == HALF,
        channels_last=bool(settings.get("channels_last", strict.channels_last)),
        threads=int(settings.get("threads", 0)),
        captured=bool(settings.get("captured", strict.captured)),
        tf32=products == TF32,
        narrow=products == NARROW,
    )


def way(strict: Setup, settings: Settings) -> Way:
    """Return how to evaluate by settings."""
    return Way(**asdict(setup(strict, settings)), folded=bool(settings.get("folded", False)))


@contextmanager
def unchanged(stepper: Stepper) -> Iterator[None]:
    """Put weights, slots, statistics and random generators back to the bit."""
    tensors = {name: value.clone() for name, value in stepper.placed.tensors.items()}
    slots = {
        slot: {name: value.clone() for name, value in views.items()}
        for slot, views in stepper.flat.slots.items()
    }
    cuda = [stepper.device] if stepper.device.type == "cuda" else []
    with torch.random.fork_rng(cuda), torch.no_grad():
        try:
            with torch.enable_grad():
                yield
        finally:
            restore(stepper, tensors, slots)


def restore(stepper: Stepper, tensors: Any, slots: Any) -> None:
    """Copy values into the stepper's tensors and slots, wherever they are now."""
    for name, value in stepper.placed.tensors.items():
        value.copy_(tensors[name])
    for slot, views in stepper.flat.slots.items():
        for name, view in views.items():
            view.copy_(slots[slot][name])
    stepper.changes += 1


class Training:
    """Tries ways of training on the first steps of a plan; see ``paribus.tuning.Trial``."""

    def __init__(self, stepper: Stepper, strict: Setup, handle: Examples, plan: TrainPlan) -> None:
        self._stepper, self._strict, self._handle, self._plan = stepper, strict, handle, plan
        self._clips = "clip_norm" in plan.scalars
        self._tensors = {name: value.clone() for name, value in stepper.placed.tensors.items()}
        self._slots = {
            slot: {name: value.clone() for name, value in views.items()}
            for slot, views in stepper.flat.slots.items()
        }

    def use(self, settings: Settings) -> None:
        """Train in this way, from the state at the beginning."""
        chosen = setup(self._strict, settings)
        self._stepper.change(chosen)
        if chosen.captured:
            self._stepper.run(self._handle, self._plan.taken(np.zeros(WARM + 1, np.int64)))
        with torch.no_grad():
            restore(self._stepper, self._tensors, self._slots)

    def answer(self) -> Answer:
        """Return the first step's loss and whole gradient."""
        stepper = self._stepper
        if stepper.setup.captured and not self._clips:
            # A step as it is played; its gradient stays where it was found.
            loss = float(stepper.run(self._handle, self._plan.first(1)).result().losses[0])
            stepper.flat.gather()
            found = stepper.flat.gradients
        else:
            loss, found = stepper.gradients(self._handle, self._plan)
        values = [found[name].detach().reshape(-1).cpu().numpy() for name in found]
        return Answer(np.array([loss]), np.concatenate(values))

    def run(self, count: int) -> None:
        """Run so many steps, the plan's over and over."""
        while count:
            part = self._plan.first(count)
            self._stepper.run(self._handle, part).result()
            count -= part.steps


class Evaluating:
    """Tries ways of evaluating the first batch of a plan; see ``paribus.tuning.Trial``."""

    def __init__(self, stepper: Stepper, strict: Setup, handle: Examples, plan: EvalPlan) -> None:
        self._stepper, self._strict, self._handle = stepper, strict, handle
        self._plan = plan.first(1)
        self._inference: Inference | None = None

    def use(self, settings: Settings) -> None:
        """Evaluate in this way."""
        self._inference = Inference(self._stepper, way(self._strict, settings))

    def answer(self) -> Answer:
        """Return the outputs of the batch; where they are many, of its first rows."""
        count = np.minimum(self._plan.counts, COMPARED)
        outputs = self._outputs(replace(self._plan, counts=count))
        return Answer(outputs.cpu().numpy().reshape(-1), np.zeros(0))

    def run(self, count: int) -> None:
        """Evaluate the batch so many times."""
        for _ in range(count):
            self._outputs(self._plan).cpu()

    def _outputs(self, plan: EvalPlan) -> torch.Tensor:
        assert self._inference is not None
        found = self._stepper.outputs(self._handle, plan, False, self._inference.forward)
        return torch.cat([outputs for *_, outputs in found])
