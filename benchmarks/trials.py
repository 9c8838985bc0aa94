"""Many small trainings: a search with folds against cross_val_score over skorch, and linear heads.

    python benchmarks/trials.py                    # 200 trials of 5 folds; some minutes
    python benchmarks/trials.py --trials 50 --repeats 3 --rival-trials 2

**Search.** Trials of an MLP 64–32–10 on scikit-learn's digits, each with its own learning rate,
five stratified folds each: ``paribus run`` of an ``[optimize]`` section, everything counted that it
does (plans, validation after every epoch, a row of metrics for each of some hundred thousand
optimizer steps), against ``cross_val_score`` over skorch's ``NeuralNetClassifier`` with the same
sizes, batch size, epochs and optimizer, on the same number of rows in float32, without a validation
split of its own and without printing. The rival runs a few trials and is multiplied; its trials do
not depend on each other. Both in this process, on one thread, in turn.

**Small CNNs.** The same of a CNN of two blocks of 4 and 8 channels with BatchNorm, fewer trials.

**Heads.** Fifteen linear heads (five orders by three learning rates) of 2048 or 384 features: the
replicas of the torch adapter against its sessions one after another, the same plans.

Wall and processor time, medians; ratios of processor time tell more on a machine that others use.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import paribus
from paribus import draws, registry, weights
from paribus.adapter import Backend, Task
from paribus.architectures import INPUT, Network
from paribus.architectures.builder import Builder
from paribus.architectures.initializers import fan_in_uniform, zeros
from paribus.optimizers import RULES
from paribus.plan import TrainPlan

FOLDS, HIDDEN, RATE = 5, 32, 0.05
ROWS = 1438  # of 1797 digits, those that are not the test set
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "momentum": 0.9},
    "adam": {"name": "adam"},
}

Times = tuple[float, float]


MLP: dict[str, Any] = {"architecture": "mlp", "hidden": [HIDDEN]}
CNN: dict[str, Any] = {"architecture": "cnn", "channels": [4, 8]}


@dataclass(frozen=True)
class Work:
    """What every trial of a search trains."""

    epochs: int
    batch: int
    optimizer: str
    model: dict[str, Any]
    device: str


def search(trials: int, work: Work) -> None:
    """Run the search with paribus."""
    tree = {
        "backend": "torch",
        "device": work.device,
        "steps": ["optimize"],
        "data": {"source": "digits", "split": {"test": 0.2}},
        "model": work.model,
        "finetune": {
            "batch_size": work.batch,
            "epochs": work.epochs,
            "optimizer": OPTIMIZERS[work.optimizer],
            "keep": "last",
        },
        "optimize": {
            "folds": FOLDS,
            "sampler": "random",
            "trials": trials,
            "search": {
                "finetune.optimizer.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}
            },
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        result = paribus.run(paribus.load(tree), out=Path(folder) / "run")
        found = result.metrics["steps"]["optimize"]["trials"]
        assert [trial["state"] for trial in found] == ["complete"] * trials


def rival(trials: int, work: Work) -> None:
    """Run as many trials with scikit-learn and skorch."""
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from skorch import NeuralNetClassifier
    from torch import nn

    class Perceptron(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))

    class Convolutions(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(
                nn.Unflatten(1, (1, 8, 8)),
                nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(4, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(32, 10),
            )  # fmt: skip

    x, y = load_digits(return_X_y=True)
    x, y = (x[:ROWS] / 16).astype(np.float32), y[:ROWS].astype(np.int64)
    kind: Any = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[work.optimizer]
    more = {"optimizer__momentum": 0.9} if work.optimizer == "sgd" else {}
    for trial in range(trials):
        net = NeuralNetClassifier(
            Perceptron if work.model is MLP else Convolutions,
            criterion=nn.CrossEntropyLoss,
            optimizer=kind,
            lr=RATE * 0.9**trial,
            max_epochs=work.epochs,
            batch_size=work.batch,
            train_split=None,
            verbose=0,
            iterator_train__shuffle=True,
            device=work.device,
            **more,
        )
        cross_val_score(net, x, y, cv=StratifiedKFold(FOLDS))


def linear(features: int, classes: int = 10) -> Network:
    """Return a network that is one linear layer."""
    build = Builder("linear", (features,), "classification")
    build.stage = "head"
    build.linear("fc", INPUT, classes, weight=fan_in_uniform(features), bias=zeros())
    return build.build({}, classes)


class Heads:
    """Fifteen heads on the same features: five orders by three learning rates."""

    def __init__(self, backend: Backend, features: int, rows: int, batch: int, device: str) -> None:
        self._network = linear(features)
        self._task = Task("sgd_momentum", tuple(self._network.tensors))
        self._options: Any = {"device": device, "precision": "float32", "numerics": "strict"}
        self._backend = backend
        self._x = draws.normal(0, "x", 0, (rows, features)).astype(np.float32)
        self._y = draws.integers(0, "y", 0, (rows,), 10)
        self._plans: list[TrainPlan] = []
        steps = rows // batch
        for fold in range(FOLDS):
            order = draws.permutation(0, f"order/{fold}", 0, rows)[: steps * batch]
            indices = order.reshape(steps, 1, batch)
            counts = np.full((steps, 1), batch)
            each = np.full(indices.shape, 1 / batch)
            for rate in (0.001, 0.01, 0.1):
                rates = np.full(steps, rate)
                values = {"weight_decay": 0.0, "momentum": 0.9}
                scalars = RULES["sgd_momentum"].coefficients(values, rates, rates)
                self._plans.append(TrainPlan(indices, counts, each, scalars))

    def together(self, epochs: int) -> list[dict[str, Any]]:
        """Train all of them as one computation."""
        count = len(self._plans)
        with self._backend.open_replicas(
            self._network, self._task, count, **self._options
        ) as replicas:
            for replica in range(count):
                replicas.import_weights(replica, weights.draw(self._network, 0))
            handle = replicas.put(self._x, self._y)
            for _ in range(epochs):
                replicas.train_steps(handle, dict(enumerate(self._plans)))
            return [replicas.export_weights(replica) for replica in range(count)]

    def one_by_one(self, epochs: int) -> list[dict[str, Any]]:
        """Train one after another."""
        found = []
        with self._backend.open(self._network, self._task, **self._options) as session:
            handle = session.put(self._x, self._y)
            for plan in self._plans:
                session.import_weights(weights.draw(self._network, 0))
                for _ in range(epochs):
                    session.train_steps(handle, plan).result()
                found.append(session.export_weights())
        return found


def timed(work: Callable[[], Any]) -> Times:
    """Return the wall and the processor seconds of some work."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def in_turn(
    ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int, times: float = 1.0
) -> tuple[Times, Times]:
    """Measure both in turn; return the medians, theirs multiplied by ``times``."""
    found = [(timed(ours), timed(theirs)) for _ in range(repeats)]
    own = tuple(median(pair[0][i] for pair in found) for i in (0, 1))
    other = tuple(times * median(pair[1][i] for pair in found) for i in (0, 1))
    return (own[0], own[1]), (other[0], other[1])


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--rival-trials", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--cnn-trials", type=int, default=40)
    parser.add_argument("--features", type=int, nargs="*", default=[384, 2048])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    given = parser.parse_args()
    device = "cuda:0" if given.device == "cuda" else given.device
    import torch

    torch.set_num_threads(1)
    backend = registry.require("torch")
    print("| work | ours, s (processor) | theirs, s (processor) | ratio (processor) |")
    print("|---|---|---|---|", flush=True)
    # What the first use of anything costs is nobody's.
    first = Work(1, 64, "sgd", MLP, device)
    search(2, first)
    rival(1, first)
    for optimizer in given.optimizers:
        for batch in given.batch:
            times = given.trials / given.rival_trials
            work = Work(given.epochs, batch, optimizer, MLP, device)
            own, other = in_turn(
                lambda w=work: search(given.trials, w),
                lambda w=work: rival(given.rival_trials, w),
                given.repeats,
                times,
            )
            _row(f"{given.trials} trials, {optimizer}, batch {batch}", own, other)
    if given.cnn_trials:
        search(2, replace(first, model=CNN))
        rival(1, replace(first, model=CNN))
        images = replace(first, epochs=given.epochs, model=CNN)
        own, other = in_turn(
            lambda: search(given.cnn_trials, images),
            lambda: rival(given.rival_trials, images),
            given.repeats,
            given.cnn_trials / given.rival_trials,
        )
        _row(f"{given.cnn_trials} trials of a small CNN, sgd, batch 64", own, other)
    for features in given.features:
        heads = Heads(backend, features, 1024, 64, device)
        near = max(
            float(np.abs(left[name] - right[name]).max() / np.abs(right[name]).max())
            for left, right in zip(heads.together(1), heads.one_by_one(1), strict=True)
            for name in right
        )
        own, other = in_turn(
            lambda h=heads: h.together(5), lambda h=heads: h.one_by_one(5), given.repeats
        )
        _row(f"15 heads of {features} features, apart {near:.0e}", own, other)


def _row(name: str, own: Times, other: Times) -> None:
    ratios = other[0] / own[0], other[1] / own[1]
    print(
        f"| {name} | {own[0]:.2f} ({own[1]:.2f}) | {other[0]:.2f} ({other[1]:.2f}) "
        f"| {ratios[0]:.1f} ({ratios[1]:.1f}) |",
        flush=True,
    )


if __name__ == "__main__":
    main()
