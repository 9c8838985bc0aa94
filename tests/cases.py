"""Small networks, data and plans that the adapter tests share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus import draws, weights
from paribus.adapter import Task
from paribus.architectures import Network, build
from paribus.optimizers import RULES
from paribus.plan import (
    Augmentation,
    EvalPlan,
    Preprocess,
    Targets,
    TrainPlan,
    evaluation_plan,
)

Array = npt.NDArray[Any]

CNN = build("cnn", {"channels": [4, 6]}, (2, 8, 8), 3)
PLAIN = build(
    "cnn",
    {"channels": [4, 6], "batch_norm": False, "pooling": "average", "hidden": 5},
    (2, 8, 8),
    3,
)
MLP = build("mlp", {"hidden": [7, 5], "activation": "tanh"}, (6,), 3)
RESNET = build("resnet18", {}, (3, 32, 32), 4)
VGG = build("vgg11_bn", {"hidden": 12}, (3, 32, 32), 3)
MOBILENET = build("mobilenet_v2", {"width": 0.25}, (3, 32, 32), 3)

TINY = {"patch": 4, "layers": 2, "heads": 2, "hidden": 8, "mlp": 12}
VIT = build("vit", TINY, (3, 8, 8), 3)
# torchvision has none like it: on torch, the nodes themselves.
WIDE_VIT = build("vit", {**TINY, "gelu": "tanh"}, (3, 8, 12), 3)

WORDS = {"vocabulary": 40, "positions": 12, "layers": 2, "heads": 2, "hidden": 8,
         "intermediate": 12}  # fmt: skip
LENGTH = 10
BERT = build("bert", WORDS, (LENGTH,), 3)
MEAN_BERT = build("bert", {**WORDS, "pooling": "mean", "gelu": "tanh"}, (LENGTH,), 3)
MASKED_BERT = build("bert", WORDS, (LENGTH,), 40, "masked_lm")
GPT2 = build("gpt2", WORDS, (LENGTH,), 3)
CAUSAL_GPT2 = build("gpt2", WORDS, (LENGTH,), 40, "causal_lm")

# Not round, one per channel, and so that the inputs are neither tiny nor all of one sign.
SCALING = Preprocess(scale=(1 / 61.0, 1 / 73.0), shift=(1.9, 1.6))

HYPERPARAMETERS = {
    "weight_decay": 0.03,
    "momentum": 0.9,
    "beta1": 0.9,
    "beta2": 0.999,
    "alpha": 0.99,
    "epsilon": 1e-8,
}


def tensors(network: Network, seed: int = 1) -> dict[str, Array]:
    """Return weights as training leaves them: nothing that starts as a constant is one still."""
    drawn = weights.draw(network, seed)
    for name, tensor in network.tensors.items():
        if tensor.role == "norm" or tensor.initializer.kind == "constant":
            noise = draws.normal(seed, f"lived-in/{name}", 0, tensor.shape)
            drawn[name] = drawn[name] + 0.2 * noise
        if name.endswith("running_var"):
            drawn[name] = np.abs(drawn[name]) + 0.1
    return drawn


def images(count: int, height: int, width: int, channels: int, seed: int = 0) -> Array:
    """Return uint8 [count, height, width, channels]."""
    noise = draws.integers(seed, "images", 0, (count, height, width, channels), 256)
    return noise.astype(np.uint8)


def stored(network: Network, count: int, seed: int = 0) -> Array:
    """Return stored examples that fit a network: uint8 images, a float64 table, or texts."""
    if network.reads_tokens:
        return texts(network, count, seed)
    if len(network.input_shape) == 1:
        return draws.normal(seed, "table", 0, (count, *network.input_shape))
    channels, height, width = network.input_shape
    return images(count, height, width, channels, seed)


def texts(network: Network, count: int, seed: int = 0, *, pairs: bool = False) -> Array:
    """Return int32 [count, length] (pairs: [count, length, 2]); lengths vary and −1 is padding.

    Those of a causal language model are full and one token longer than it reads.
    """
    causal = network.objective == "causal_lm"
    length = network.input_shape[0] + causal
    numbers = draws.integers(seed, "texts", 0, (count, length), network.parameters["vocabulary"])
    if not causal:
        lengths = 3 + draws.integers(seed, "lengths", 0, (count,), length - 2)
        numbers[np.arange(length) >= lengths[:, None]] = -1
    if not pairs:
        return numbers.astype(np.int32)
    second = (np.arange(length) >= 3) & (numbers >= 0)
    return np.stack([numbers, second], axis=-1).astype(np.int32)


def targets(network: Network, x: Array, indices: Array, seed: int = 0) -> Targets:
    """Return what a masked language model predicts for ``indices`` [...] of texts ``x``."""
    rows = x[indices]
    lengths = (rows >= 0).sum(axis=-1)
    counts = np.maximum(1, lengths // 3)
    drawn = draws.uniform(seed, "targets", 0, rows.shape) + (rows < 0)
    chosen = np.argsort(drawn, axis=-1)[..., :3]
    # Those past the counts repeat the first one.
    chosen = np.where(np.arange(3) < counts[..., None], chosen, chosen[..., :1])
    chosen = np.sort(chosen, axis=-1) if (counts == 3).all() else chosen
    labels = np.take_along_axis(rows, chosen, axis=-1).astype(np.int64)
    masked = rows.copy()
    np.put_along_axis(masked, chosen, 1, axis=-1)
    return Targets(masked, chosen.astype(np.int64), labels, counts.astype(np.int64))


def scaling(network: Network) -> Preprocess:
    """Return preprocessing that suits ``stored``."""
    if network.reads_tokens:
        return Preprocess(length=network.input_shape[0])
    if len(network.input_shape) == 1:
        return Preprocess(scale=(0.7,), shift=(0.1,))
    channels = network.input_shape[0]
    return SCALING if channels == 2 else Preprocess((1 / 67.0,) * channels, (1.8,) * channels)


def labels(network: Network, count: int, seed: int = 0) -> Array:
    """Return int64 [count] below the network's classes; for regression float64 [count, outputs]."""
    if network.objective == "regression":
        return draws.normal(seed, "labels", 0, (count, network.classes))
    return draws.integers(seed, "labels", 0, (count,), network.classes)


def task(
    network: Network, rule: str = "sgd_momentum", freeze: str = "none", **options: Any
) -> Task:
    """Return a task in which weight decay spares biases and BatchNorm."""
    free = network.trainable(freeze)
    decayed = tuple(name for name in free if network.tensors[name].role == "weight")
    return Task(rule, free, decayed, **options)


def train_plan(
    indices: Any,
    rule: str = "sgd_momentum",
    *,
    rates: Sequence[float] | None = None,
    first_step: int = 1,
    counts: Any = None,
    clip_norm: float | None = None,
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
        scalars["clip_norm"] = np.full(steps, clip_norm)
    return TrainPlan(rows, real.astype(np.int64), mean, scalars, preprocess, augmentation, targets)


def steps(network: Network, indices: Any, x: Array, **options: Any) -> TrainPlan:
    """Return ``train_plan`` with what the network's objective needs for examples ``x``."""
    options = {"preprocess": scaling(network), **options}
    if network.objective == "causal_lm":
        rows = np.asarray(indices)
        options["predictions"] = np.full(len(rows), rows[0].size * network.input_shape[0])
    if network.objective == "masked_lm":
        found = targets(network, x, np.asarray(indices))
        options |= {"targets": found, "predictions": found.counts.sum(axis=(1, 2))}
    return train_plan(indices, **options)


def batches(steps: int, shards: int, batch: int, count: int, seed: int = 0) -> Array:
    """Return int64 [steps, shards, batch] drawn from ``range(count)``, no row twice in a step."""
    drawn = [draws.permutation(seed, "order", step, count) for step in range(steps)]
    return np.stack([rows[: shards * batch].reshape(shards, batch) for rows in drawn])


def eval_plan(count: int, batch: int, preprocess: Preprocess = SCALING) -> EvalPlan:
    """Return a plan over rows 0 … count − 1."""
    return evaluation_plan(np.arange(count), batch, preprocess)


def distance(left: Mapping[str, Array] | Array, right: Mapping[str, Array] | Array) -> float:
    """Return the largest difference, relative to the largest value of the tensor it is in."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        assert list(left) == list(right)
        return max(distance(left[name], right[name]) for name in left)
    a, b = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    assert a.shape == b.shape
    # An all-zero tensor has no scale of its own; its differences count as they are.
    return float(np.abs(a - b).max() / (np.abs(b).max() or 1.0))
