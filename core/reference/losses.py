"""Each row's loss, by the objectives that ``paribus.plan.TrainPlan`` defines."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.architectures import Network

Array = npt.NDArray[Any]


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Return each row's loss [n], natural logarithm."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1))
    return np.asarray(total - shifted[np.arange(len(labels)), labels])


def row_losses(
    network: Network,
    outputs: Array,
    labels: Array,
    counts: Array | None = None,
    smoothing: float = 0,
) -> Array:
    """Return each row's loss [n] by the network's objective; counts [n] of targets that count."""
    if network.objective == "regression":
        return np.asarray(((outputs - labels) ** 2).mean(axis=1))
    flat = cross_entropy(outputs.reshape(-1, outputs.shape[-1]), labels.reshape(-1))
    losses = flat.reshape(labels.shape)
    if network.objective == "classification":
        every = [cross_entropy(outputs, np.full(len(outputs), c)) for c in range(outputs.shape[1])]
        return np.asarray((1 - smoothing) * losses + smoothing * np.mean(every, axis=0))
    if counts is not None:
        losses = losses * (np.arange(labels.shape[1]) < counts[:, None])
    return np.asarray(losses.sum(axis=1))
