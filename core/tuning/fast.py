"""What one session in fast numerics has chosen, for adapters whose sessions have a ``setup``.

An adapter says which ways there are and how one is set; when something is tried, on which rows,
what is compared and that all is put back is here. ``paribus.backends.jax`` and ``tensorflow`` use
it; an adapter whose ways are of another kind may write its own trials (``paribus.tuning.Trial``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

import numpy as np

from paribus.adapter import Array, Pending, Task
from paribus.architectures import Network
from paribus.architectures.cost import products
from paribus.architectures.folding import foldable
from paribus.plan import EvalPlan, TrainPlan
from paribus.tuning.choice import Choice, Settings
from paribus.tuning.trying import Answer, Axes
from paribus.tuning.tuning import Subject, Tuning

# Rows of a batch whose outputs are compared.
COMPARED = 64
Purpose = Literal["training", "evaluation"]


class Setup(Protocol):
    """A way of computing; equal ones compute alike."""

    def with_(self, settings: Settings) -> Self:
        """Return the way that settings stand for, this one being that of strict numerics."""


S = TypeVar("S", bound=Setup)


class Tuned(Protocol[S]):
    """What is asked of a session, besides ``Session.gradients``.

    Attributes:
        setup: how steps are made from now on.
    """

    setup: S

    def state(self) -> Any:
        """Return a copy of all weights, statistics and slots."""

    def restore(self, state: Any) -> None:
        """Take a state, to the bit, and leave it as it is."""

    def gradients(self, handle: Any, plan: TrainPlan) -> tuple[float, dict[str, Array]]:
        """Return the first step's loss and gradients, computed by ``setup``."""

    def advance(self, handle: Any, plan: TrainPlan) -> Pending:
        """Make K steps by ``setup``."""

    def outputs(self, handle: Any, plan: EvalPlan, setup: S) -> Array:
        """Return the real rows' outputs in evaluation mode."""

    def settle(self) -> None:
        """Let go of what was compiled for other setups than that of now."""


@dataclass(frozen=True)
class About:
    """What choices depend on, besides batches and machine.

    Attributes:
        network, task: the session's.
        device, precision: JSON values that say it.
        packages: distributions whose versions matter.
        axes: what may be chosen in training and in evaluation, strict numerics first.
        more: further JSON values, by name.
    """

    network: Network
    task: Task
    device: Any
    precision: Any
    packages: tuple[str, ...]
    axes: Axes = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    def subject(self, purpose: Purpose, plan: TrainPlan | EvalPlan) -> Subject:
        """Return what a choice is for that is made with a plan."""
        network, task, preprocess = self.network, self.task, plan.preprocess
        named = sha256(repr((task.trainable, task.decayed)).encode()).hexdigest()
        depends: dict[str, Any] = {
            "network": [network.architecture, dict(network.parameters), network.input_shape,
                        network.classes, network.objective],
            "device": self.device,
            "precision": self.precision,
            **self.more,
        }  # fmt: skip
        if purpose == "training":
            depends["task"] = [task.rule, named, task.clips, task.norms, task.native_noise]
        shape = [*map(int, plan.indices.shape[1:]), preprocess.crop, preprocess.length]
        return Subject(purpose, network.architecture, depends, self.packages, shape)


class Spent(Protocol):
    """Counts ``seconds`` of compiling."""

    seconds: float


class Fast(Generic[S]):
    """What one session has chosen.

    Args:
        session: whose ways of computing are tried.
        about: what choices depend on.
        tuning: the permission to choose.
        spent: where the time of trying is counted, as compiling, whatever it was spent on.

    Attributes:
        choices: so far.
    """

    def __init__(self, session: Tuned[S], about: About, tuning: Tuning, spent: Spent) -> None:
        self._session, self._about, self._tuning = session, about, tuning
        self._spent = spent
        self._strict = session.setup
        self._trained = False
        self._evaluating: S | None = None
        self.choices: list[Choice] = []

    def train(self, handle: Any, plan: TrainPlan) -> None:
        """Choose how to train, at the first steps; every later step is computed in that way."""
        if self._trained:
            return
        self._trained = True
        axes = self._about.axes
        if axes:
            subject = self._about.subject("training", plan)
            with self._trying():
                trial = _Training(self._session, self._strict, handle, plan)
                choice = self._tuning.choose(subject, axes, lambda: trial)
                trial.use(choice.settings)
                self._session.settle()
            self.choices.append(choice)

    def evaluation(self, handle: Any, plan: EvalPlan) -> S:
        """Return how to evaluate, chosen at the first plan that is worth it."""
        if self._evaluating is not None:
            return self._evaluating
        network = self._about.network
        axes = self._about.axes
        if foldable(network):
            axes = {"folded": (False, True), **axes}
        work = int(plan.counts.sum()) * products(network)
        if not axes or work < self._tuning.least_work:
            return self._session.setup
        subject = self._about.subject("evaluation", plan)
        with self._trying():
            trial = _Evaluating(self._session, self._strict, handle, plan)
            choice = self._tuning.choose(subject, axes, lambda: trial)
        self._evaluating = self._strict.with_(choice.settings)
        self.choices.append(choice)
        return self._evaluating

    @contextmanager
    def _trying(self) -> Iterator[None]:
        start, before = time.perf_counter(), self._spent.seconds
        yield
        self._spent.seconds = before + time.perf_counter() - start


class _Training(Generic[S]):
    """Tries ways of training on the first steps of a plan; see ``paribus.tuning.Trial``."""

    def __init__(self, session: Tuned[S], strict: S, handle: Any, plan: TrainPlan) -> None:
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


class _Evaluating(Generic[S]):
    """Tries ways of evaluating the first batch of a plan; see ``paribus.tuning.Trial``."""

    def __init__(self, session: Tuned[S], strict: S, handle: Any, plan: EvalPlan) -> None:
        self._session, self._strict, self._handle = session, strict, handle
        self._plan, self._setup = plan.first(1), strict

    def use(self, settings: Settings) -> None:
        """Evaluate in this way."""
        self._setup = self._strict.with_(settings)

    def answer(self) -> Answer:
        """Return the outputs of the batch; where they are many, of its first rows."""
        counts = np.minimum(self._plan.counts, COMPARED)
        outputs = self._outputs(replace(self._plan, counts=counts))
        self._outputs(self._plan)
        return Answer(outputs.reshape(-1), np.zeros(0))

    def run(self, count: int) -> None:
        """Evaluate the batch so many times."""
        for _ in range(count):
            self._outputs(self._plan)

    def _outputs(self, plan: EvalPlan) -> Array:
        return self._session.outputs(self._handle, plan, self._setup)
