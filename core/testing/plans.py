"""Tasks and plans as core makes them, from a few numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paribus import draws
from paribus.adapter import Task
from paribus.architectures import Network
from paribus.optimizers import RULES
from paribus.plan import (
    Augmentation,
    EvalPlan,
    Preprocess,
    Targets,
    TrainPlan,
    evaluation_plan,
)
from paribus.testing.data import SCALING, Array, scaling
from paribus.testing.data import targets as predicted

HYPERPARAMETERS = {
    "weight_decay": 0.03,
    "momentum": 0.9,
    "beta1": 0.9,
    "beta2": 0.999,
    "alpha": 0.99,
    "epsilon": 1e-8,
}


def task(
    network: Network, rule: str = "sgd_momentum", freeze: str = "none", **options: Any
) -> Task:
    """Return a task in which weight decay spares biases and norms."""
    free = network.trainable(freeze)
    decayed = tuple(name for name in free if network.tensors[name].role == "weight")
    return Task(rule, free, **{"decayed": decayed, **options})


def train_plan(
    indices: Any,
    rule: str = "sgd_momentum",
    *,
    rates: Sequence[float] | None = None,
    first_step: int = 1,
    counts: Any = None,
    clip_norm: float | Sequence[float] | None = None,
    preprocess: Preprocess = SCALING,
    augmentation: Augmentation | None = None,
    targets: Targets | None = None,
    predictions: Any = None,
    values: Mapping[str, float] = HYPERPARAMETERS,
) -> TrainPlan:
    """Return a plan over ``indices`` [K, S, b]; every real row weighs 1 / (real rows of its step).

    ``rates`` default to values that change from step to step; ``predictions`` [K] replace the
    numbers of real rows for language models.
    """
    rows = np.asarray(indices, dtype=np.int64)
    steps, shards, batch = rows.shape
    real = np.full((steps, shards), batch) if counts is None else np.asarray(counts)
    present = np.arange(batch) < real[:, :, None]
    total = real.sum(axis=1) if predictions is None else np.asarray(predictions)
    mean = present / total[:, None, None]
    numbers = np.arange(first_step, first_step + steps, dtype=np.float64)
    rate = 0.02 / (1.0 + 0.3 * numbers) if rates is None else np.asarray(rates, dtype=np.float64)
    coefficients = RULES[rule].coefficients(values, rate, numbers)
    scalars = {name: coefficients[name] for name in RULES[rule].scalars}
    if clip_norm is not None:
        scalars["clip_norm"] = np.broadcast_to(np.asarray(clip_norm, np.float64), steps).copy()
    return TrainPlan(rows, real.astype(np.int64), mean, scalars, preprocess, augmentation, targets)


def steps(network: Network, indices: Any, x: Array, **options: Any) -> TrainPlan:
    """Return ``train_plan`` with what the network's objective needs for examples ``x``."""
    options = {"preprocess": scaling(network), **options}
    rows = np.asarray(indices)
    counts = options.get("counts")
    real = np.full(rows.shape[:2], rows.shape[2]) if counts is None else np.asarray(counts)
    if network.objective == "causal_lm":
        options["predictions"] = real.sum(axis=1) * network.input_shape[0]
    if network.objective == "masked_lm":
        found = predicted(network, x, rows)
        present = np.arange(rows.shape[2]) < real[:, :, None]
        total = (found.counts * present).sum(axis=(1, 2))
        options |= {"targets": found, "predictions": total}
    return train_plan(indices, **options)


def batches(steps: int, shards: int, batch: int, count: int, seed: int = 0) -> Array:
    """Return int64 [steps, shards, batch] drawn from ``range(count)``, no row twice in a step."""
    drawn = [draws.permutation(seed, "order", step, count) for step in range(steps)]
    return np.stack([rows[: shards * batch].reshape(shards, batch) for rows in drawn])


def eval_plan(count: int, batch: int, preprocess: Preprocess = SCALING) -> EvalPlan:
    """Return a plan over rows 0 … count − 1."""
    return evaluation_plan(np.arange(count), batch, preprocess)
