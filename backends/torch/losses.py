"""What each objective makes of a network's outputs: the rows' losses, and what was right."""

from __future__ import annotations

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
