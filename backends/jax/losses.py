"""What each objective makes of a network's outputs: the rows' losses, and what was right."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from paribus.architectures import Objective

Tensor = Any


def row_losses(
    objective: Objective,
    outputs: Tensor,
    labels: Tensor,
    counted: Tensor | None,
    label_smoothing: float,
) -> Tensor:
    """Return each row's loss [b] as ``paribus.plan.TrainPlan`` defines it.

    Args:
        objective: the network's.
        outputs: [b, C]; of language models [b, M, C].
        labels: integers [b] or [b, M]; for regression floats [b, C].
        counted: bool [b, M], which of a masked language model's predictions count; else None.
        label_smoothing: ε, for classification.
    """
    if objective == "regression":
        return jnp.square(outputs - labels).mean(1)
    logs = jax.nn.log_softmax(outputs)
    # Chosen by comparing: looking up by index has a gradient that is written value by value.
    chosen = labels[..., None] == jnp.arange(outputs.shape[-1])
    losses = -jnp.where(chosen, logs, 0).sum(-1)
    if objective == "classification":
        if label_smoothing:
            losses = (1.0 - label_smoothing) * losses - label_smoothing * logs.mean(-1)
        return losses
    return (losses if counted is None else jnp.where(counted, losses, 0)).sum(1)


def right(objective: Objective, outputs: Tensor, labels: Tensor, counted: Tensor | None) -> Tensor:
    """Return how many of each row's predictions are right: int64 [b]."""
    if objective == "regression":
        return jnp.zeros(len(outputs), jnp.int64)
    # The first one among equals.
    hits = jnp.argmax(outputs, -1) == labels
    hits = (hits if counted is None else hits & counted).astype(jnp.int64)
    return hits if objective == "classification" else hits.sum(1)
