"""Fast numerics: the ways of training and of evaluating that are tried, and what was chosen.

Tried are products in bfloat16 (parameters, norms, loss and update stay float32), XLA, and for an
evaluation BatchNorm folded into the convolutions. XLA is not tried on a CPU for networks with
convolutions: its own are an order of magnitude slower than TensorFlow's inside of a loop, and take
minutes to compile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from paribus.adapter import Task
from paribus.architectures import Network
from paribus.architectures.cost import products
from paribus.architectures.folding import foldable
from paribus.backends.tensorflow.plans import Handle
from paribus.plan import EvalPlan, TrainPlan
from paribus.tuning import Answer, Axes, Choice, Setting, Settings, Subject, Tuning

if TYPE_CHECKING:
    from paribus.backends.tensorflow.engine import TensorFlowSession

FLOAT, HALF = "float32", "bfloat16"
# Rows of a batch whose outputs are compared.
COMPARED = 64


@dataclass(frozen=True)
class Setup:
    """What may be computed in one way or another.

    Attributes:
        bfloat16: whether convolutions and products are.
        xla: whether XLA compiles the graph.
        folded: whether BatchNorm is part of the convolution before it, in evaluation.
    """

    bfloat16: bool
    xla: bool
    folded: bool = False

    def with_(self, settings: Settings) -> Setup:
        """Return the setup that settings stand for, this one being that of strict numerics."""
        return Setup(
            self.bfloat16 or settings.get("products") == HALF,
            bool(settings.get("xla", self.xla)),
            bool(settings.get("folded", False)),
        )


class Fast:
    """What one session has chosen.

    Attributes:
        choices: so far.
        evaluating: how to evaluate; None while nothing is chosen.
    """

    def __init__(
        self, session: TensorFlowSession, network: Network, task: Task, tuning: Tuning, cpu: bool
    ) -> None:
        self._session, self._network, self._task = session, network, task
        self._tuning, self._cpu, self._strict = tuning, cpu, session.setup
        self._trained = False
        self.choices: list[Choice] = []
        self.evaluating: Setup | None = None

    def train(self, handle: Handle, plan: TrainPlan) -> None:
        """Choose how to train, at the first steps; every later step is computed in that way."""
        if self._trained:
            return
        self._trained = True
        axes = self._axes()
        if axes:
            subject = self._subject("training", plan.indices.shape[1:], plan.preprocess)
            trial = Training(self._session, self._strict, handle, plan)
            choice = self._tuning.choose(subject, axes, lambda: trial)
            trial.use(choice.settings)
            self._session.forget_others(self._session.setup)
            self.choices.append(choice)

    def evaluate(self, handle: Handle, plan: EvalPlan) -> None:
        """Choose how to evaluate, at the first plan that is worth it."""
        work = int(plan.counts.sum()) * products(self._network)
        if self.evaluating is not None or work < self._tuning.least_work:
            return
        axes = self._axes()
        if foldable(self._network):
            axes = {"folded": (False, True), **axes}
        if not axes:
            return
        subject = self._subject("evaluation", plan.indices.shape[1:], plan.preprocess)
        trial = Evaluating(self._session, self._strict, handle, plan, self._use)
        choice = self._tuning.choose(subject, axes, lambda: trial)
        self._use(self._strict.with_(choice.settings))
        self.choices.append(choice)

    def _use(self, setup: Setup) -> None:
        self.evaluating = setup

    def _axes(self) -> Axes:
        """Return what can be chosen, strict numerics first."""
        axes: dict[str, tuple[Setting, ...]] = {}
        if self._session.float32 and not self._strict.bfloat16:
            axes["products"] = (FLOAT, HALF)
        convolves = any(node.op == "conv2d" for node in self._network.nodes)
        if not (self._cpu and convolves):
            axes["xla"] = (False, True)
        return axes

    def _subject(
        self, purpose: Literal["training", "evaluation"], rows: tuple[int, ...], preprocess: Any
    ) -> Subject:
        network, task = self._network, self._task
        named = sha256(repr((task.trainable, task.decayed)).encode()).hexdigest()
        depends: dict[str, Any] = {
            "network": [network.architecture, dict(network.parameters), network.input_shape,
                        network.classes, network.objective],
            "device": self._session.place,
            "precision": [self._session.float32, self._strict.bfloat16],
        }  # fmt: skip
        if purpose == "training":
            depends["task"] = [task.rule, named, task.clips, task.norms, task.native_noise]
        shape = [*map(int, rows), preprocess.crop, preprocess.length]
        return Subject(purpose, network.architecture, depends, ("tensorflow", "keras"), shape)


class Training:
    """Tries ways of training on the first steps of a plan; see ``paribus.tuning.Trial``."""

    def __init__(
        self, session: TensorFlowSession, strict: Setup, handle: Handle, plan: TrainPlan
    ) -> None:
        self._session, self._strict, self._handle, self._plan = session, strict, handle, plan
        self._saved = session.state()

    def use(self, settings: Settings) -> None:
        """Train in this way, from the state at the beginning."""
        self._session.setup = self._strict.with_(settings)
        self._session.restore(self._saved)

    def answer(self) -> Answer:
        """Return the first step's loss and whole gradient; compile what trains."""
        loss, found = self._session.gradients(self._handle, self._plan)
        values = [found[name].reshape(-1) for name in found]
        return Answer(np.array([loss]), np.concatenate(values))

    def run(self, count: int) -> None:
        """Run so many steps in one call, the plan's over and over."""
        steps = np.arange(count) % self._plan.steps
        self._session.advance(self._handle, self._plan.taken(steps)).result()


class Evaluating:
    """Tries ways of evaluating the first batch of a plan; see ``paribus.tuning.Trial``."""

    def __init__(
        self,
        session: TensorFlowSession,
        strict: Setup,
        handle: Handle,
        plan: EvalPlan,
        use: Callable[[Setup], None],
    ) -> None:
        self._session, self._strict, self._handle, self._use = session, strict, handle, use
        self._plan = plan.first(1)

    def use(self, settings: Settings) -> None:
        """Evaluate in this way."""
        self._use(self._strict.with_(settings))

    def answer(self) -> Answer:
        """Return the outputs of the batch; where they are many, of its first rows."""
        counts = np.minimum(self._plan.counts, COMPARED)
        outputs = self._session.outputs(self._handle, replace(self._plan, counts=counts))
        self._session.outputs(self._handle, self._plan)
        return Answer(outputs.reshape(-1), np.zeros(0))

    def run(self, count: int) -> None:
        """Evaluate the batch so many times."""
        for _ in range(count):
            self._session.outputs(self._handle, self._plan)
