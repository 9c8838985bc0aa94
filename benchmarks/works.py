"""The four works whose training step is measured: networks, data and recipes, the same for all.

Shapes are an MLP on 64 features, a CNN on 28×28 pixels, ResNet-18 on 64×64 and BERT of 4 layers of
width 256 on 128 tokens; 32 rows a step. Data is drawn and in memory, so that nobody reads a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.adapter import Session, Task
from paribus.architectures import Network, build
from paribus.batches import Schedule
from paribus.inputs import Inputs
from paribus.plan import Preprocess
from paribus.spec.training import Recipe

Array = npt.NDArray[Any]
ROWS, VOCABULARY, SEED = 32, 8000, 0
SGD = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9}
ADAMW = {"name": "adamw", "learning_rate": 1e-4, "weight_decay": 0.01}


@dataclass(frozen=True)
class Work:
    """One network with its data.

    Attributes:
        examples: rows of the data; epochs: passes of one measurement, about half a second.
    """

    title: str
    architecture: str
    parameters: dict[str, Any]
    shape: tuple[int, ...]
    classes: int
    examples: int
    epochs: int
    optimizer: dict[str, Any]

    @cached_property
    def network(self) -> Network:
        return build(self.architecture, self.parameters, self.shape, self.classes)

    @property
    def steps(self) -> int:
        """Optimizer steps of one measurement."""
        return self.epochs * (self.examples // ROWS)

    def data(self) -> tuple[Array, Array]:
        """Return x as ``Session.put`` takes it, images [N, H, W, C], and labels int64 [N]."""
        drawn = np.random.default_rng(SEED)
        y = drawn.integers(0, self.classes, self.examples)
        if self.network.reads_tokens:
            return drawn.integers(5, VOCABULARY, (self.examples, *self.shape), dtype=np.int32), y
        shape = (*self.shape[1:], self.shape[0]) if len(self.shape) == 3 else self.shape
        return drawn.normal(size=(self.examples, *shape)).astype(np.float32), y

    def task(self) -> Task:
        """Return what a session has to do: everything is trained."""
        network, rule = self.network, Recipe(optimizer=self.optimizer).optimizer.rule
        free = network.trainable("none")
        decays = "weight_decay" in self.optimizer
        return Task(rule, free, tuple(n for n in free if decays and _decays(network, n)))

    def schedule(self) -> Schedule:
        """Return the order of rows and the scalars of every step."""
        recipe = Recipe(
            epochs=100_000, batch_size=ROWS, last_batch="drop", optimizer=self.optimizer
        )
        length = self.shape[0] if self.network.reads_tokens else None
        inputs = Inputs(preprocess=Preprocess(length=length))
        rows = np.arange(self.examples, dtype=np.int64)
        return Schedule(recipe, recipe.epochs, rows, SEED, "steps", inputs)


def _decays(network: Network, name: str) -> bool:
    return network.tensors[name].role == "weight"


_BERT = {"vocabulary": VOCABULARY, "layers": 4, "heads": 4, "hidden": 256, "intermediate": 1024}
_CNN = {"channels": [16, 32], "batch_norm": False}
WORKS = {
    "mlp": Work("MLP 8×8", "mlp", {"hidden": [64]}, (64,), 10, 1024, 10, SGD),
    "cnn": Work("CNN 28×28", "cnn", _CNN, (1, 28, 28), 10, 1024, 4, SGD),
    "resnet": Work("ResNet-18 64×64", "resnet18", {}, (3, 64, 64), 10, 192, 1, SGD),
    "bert": Work("BERT 4×256×128 tokens", "bert", _BERT, (128,), 4, 192, 1, ADAMW),
}


class Ours:
    """Training through a session as the loop of paribus does it: one chunk under way at a time."""

    def __init__(self, work: Work, session: Session) -> None:
        self._session, self._schedule, self._epoch = session, work.schedule(), 0
        self._handle = session.put(*work.data())

    def __call__(self, epochs: int) -> None:
        """Train for so many epochs; an epoch is shorter than what the loop takes at a time."""
        under_way = None
        for _ in range(epochs):
            plan = self._schedule.epoch(self._epoch).plan(0, 1024)
            upcoming = self._session.train_steps(self._handle, plan)
            self._epoch += 1
            if under_way is not None:
                under_way.result()
            under_way = upcoming
        if under_way is not None:
            under_way.result()
