"""What each objective makes of a network's outputs: the rows' losses, and what was right."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

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
        labels: int64 [b] or [b, M]; for regression floats [b, C].
        counted: bool [b, M], which of a masked language model's predictions count; else None.
        label_smoothing: ε, for classification.
    """
    if objective == "regression":
        return tf.reduce_mean(tf.math.squared_difference(outputs, labels), 1)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs)
    if objective == "classification":
        if label_smoothing:
            uniform = -tf.reduce_mean(tf.nn.log_softmax(outputs), 1)
            losses = (1.0 - label_smoothing) * losses + label_smoothing * uniform
        return losses
    if counted is not None:
        losses *= tf.cast(counted, losses.dtype)
    return tf.reduce_sum(losses, 1)


def right(objective: Objective, outputs: Tensor, labels: Tensor, counted: Tensor | None) -> Tensor:
    """Return how many of each row's predictions are right: int64 [b]."""
    if objective == "regression":
        return tf.zeros(tf.shape(outputs)[:1], tf.int64)
    # tf.argmax leaves open which of equal logits it takes; the first is the rule.
    best = tf.equal(outputs, tf.reduce_max(outputs, -1, keepdims=True))
    classes = tf.range(outputs.shape[-1], dtype=labels.dtype)
    first = tf.reduce_min(tf.where(best, classes, outputs.shape[-1]), -1)
    hits = tf.equal(first, labels)
    hits = tf.cast(hits if counted is None else hits & counted, tf.int64)
    return hits if objective == "classification" else tf.reduce_sum(hits, 1)
