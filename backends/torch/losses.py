"""What each objective makes of a network's outputs: the rows' losses, and what was right."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from paribus.architectures import Objective


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
        return (outputs - labels).square().mean(dim=1)
    if objective == "classification":
        return F.cross_entropy(outputs, labels, reduction="none", label_smoothing=label_smoothing)
    losses = F.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
    losses = losses.view(labels.shape)
    return (losses if counted is None else losses * counted).sum(dim=1)


def right(objective: Objective, outputs: Tensor, labels: Tensor, counted: Tensor | None) -> Tensor:
    """Return how many predictions are right, as a number on the device."""
    if objective == "regression":
        return outputs.new_zeros(()).long()
    hits = outputs.argmax(dim=-1) == labels
    return (hits if counted is None else hits & counted).sum()


def weighted_losses(
    objective: Objective,
    outputs: Tensor,
    labels: Tensor,
    row_weights: Tensor,
    label_smoothing: float,
    out: Tensor,
) -> Tensor:
    """Write the losses of many replicas' rows; return the derivative of their weighted sums.

    Args:
        objective: classification or regression.
        outputs: [r, b, C].
        labels: int64 [r, b], or [1, b] where all are equal; for regression floats [r, b, C].
        row_weights: [r, b] or [1, b].
        label_smoothing: ε, for classification.
        out: [r, b].
    """
    classes = outputs.shape[-1]
    if objective == "regression":
        apart = outputs - labels
        torch.mean(apart.square(), dim=-1, out=out)
        return apart.mul_(row_weights.unsqueeze(-1) * (2.0 / classes))
    # Classes before rows: sums over a last, short axis take ten times as long.
    logits = outputs.transpose(1, 2).contiguous()
    shifted = logits - logits.amax(1, keepdim=True)
    by = shifted.exp()
    total = by.sum(1, keepdim=True)
    own = labels.expand(len(outputs), -1).unsqueeze(1)
    logs = total.log()
    torch.sub(logs, shifted.gather(1, own), out=out.unsqueeze(1))
    by /= total
    if label_smoothing:
        every = (logs * classes).sub_(shifted.sum(1, keepdim=True)).squeeze(1)
        out.mul_(1.0 - label_smoothing).add_(every, alpha=label_smoothing / classes)
        by -= label_smoothing / classes
    by.scatter_add_(1, own, by.new_full((), label_smoothing - 1.0).expand(own.shape))
    return by.mul_(row_weights.unsqueeze(1)).transpose(1, 2)
