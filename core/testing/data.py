"""Weights, examples and labels that suit a network, drawn by core's generator from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from paribus import draws, weights
from paribus.architectures import LANGUAGE, Network
from paribus.plan import Preprocess, Targets

Array = npt.NDArray[Any]

# Not round, one per channel, and so that the inputs are neither tiny nor all of one sign.
SCALING = Preprocess(scale=(1 / 61.0, 1 / 73.0), shift=(1.9, 1.6))


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


def labels(network: Network, count: int, seed: int = 0) -> Array | None:
    """Return what ``Session.put`` takes as labels of ``count`` examples.

    int64 [count] below the network's classes, float64 [count, outputs] for regression, None for
    language models.
    """
    if network.objective in LANGUAGE:
        return None
    if network.objective == "regression":
        return draws.normal(seed, "labels", 0, (count, network.classes))
    return draws.integers(seed, "labels", 0, (count,), network.classes)
