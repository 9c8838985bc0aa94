"""The four works whose training step is measured: the same network, weights, batches and recipe.

An MLP on 64 features, a CNN on 28×28 pixels, ResNet-18 on 64×64, BERT of 4 layers of width 256 on
128 tokens; 32 rows a step. Everything is drawn by core, once, and handed out as NumPy arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus import draws, weights
from paribus.adapter import Task
from paribus.architectures import Network, build
from paribus.batches import Schedule
from paribus.inputs import Inputs
from paribus.plan import Preprocess
from paribus.spec.training import Recipe

Array = npt.NDArray[Any]
ROWS, VOCABULARY, SEED = 32, 8000, 0
SGD = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9}
ADAMW = {"name": "adamw", "learning_rate": 1e-4, "weight_decay": 0.01}
# Orders of an epoch that rivals get ready-made; they begin again after the last.
_ORDERS = 8


@dataclass(frozen=True)
class Work:
    """One network with its data.

    Attributes:
        title: for tables.
        examples: rows of the data, a multiple of a step's.
        epochs: of one turn, so that it takes tenths of a second or more.
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
        """The network as core describes it."""
        return build(self.architecture, self.parameters, self.shape, self.classes)

    @property
    def epoch_steps(self) -> int:
        """Optimizer steps of an epoch."""
        return self.examples // ROWS

    def data(self) -> tuple[Array, Array]:
        """Return x as ``Session.put`` takes it, images float32 [N, H, W, C], and labels int64."""
        y = draws.integers(SEED, "labels", 0, (self.examples,), self.classes)
        if self.network.reads_tokens:
            tokens = draws.integers(SEED, "tokens", 0, (self.examples, *self.shape), VOCABULARY - 5)
            return (tokens + 5).astype(np.int32), y
        shape = (*self.shape[1:], self.shape[0]) if len(self.shape) == 3 else self.shape
        return draws.normal(SEED, "x", 0, (self.examples, *shape)).astype(np.float32), y

    def weights(self) -> dict[str, Array]:
        """Return the initial weights, by canonical name."""
        return weights.draw(self.network, SEED)

    def schedule(self) -> Schedule:
        """Return the order of rows and the scalars of every step."""
        recipe = Recipe.model_validate({
            "epochs": 100_000, "batch_size": ROWS, "optimizer": self.optimizer,
        })  # fmt: skip
        length = self.shape[0] if self.network.reads_tokens else None
        inputs = Inputs(preprocess=Preprocess(length=length))
        rows = np.arange(self.examples, dtype=np.int64)
        return Schedule(recipe, recipe.epochs, rows, SEED, "steps", inputs)

    def orders(self) -> list[Array]:
        """Return the orders of the first epochs, int64 [N] each, as the schedule has them."""
        schedule = self.schedule()
        return [schedule.epoch(number).order for number in range(_ORDERS)]

    def decays(self, name: str) -> bool:
        """Return whether weight decay applies to a tensor: to weights, no bias and no norm."""
        return "weight_decay" in self.optimizer and self.network.tensors[name].role == "weight"

    def task(self) -> Task:
        """Return what a session has to do: train everything."""
        free = self.network.trainable("none")
        rule = self.schedule().recipe.optimizer.rule
        return Task(rule, free, tuple(name for name in free if self.decays(name)))


_BERT = {"vocabulary": VOCABULARY, "layers": 4, "heads": 4, "hidden": 256, "intermediate": 1024}
_CNN = {"channels": [16, 32], "batch_norm": False}
WORKS = {
    "mlp": Work("MLP 8×8", "mlp", {"hidden": [64]}, (64,), 10, 1024, 10, SGD),
    "cnn": Work("CNN 28×28", "cnn", _CNN, (1, 28, 28), 10, 1024, 4, SGD),
    "resnet": Work("ResNet-18 64×64", "resnet18", {}, (3, 64, 64), 10, 192, 1, SGD),
    "bert": Work("BERT 4×256×128 tokens", "bert", _BERT, (128,), 4, 192, 1, ADAMW),
}
