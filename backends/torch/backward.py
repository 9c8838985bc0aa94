"""The backward pass from the rows' losses, whose gradients are given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def backward(rows: Tensor, weights: Tensor) -> None:
    """Add the gradient of Σ weights · rows to the parameters' own.

    PyTorch's ``backward`` imports symbolic algebra where gradients are given, which takes half a
    second; what it calls takes them as they are. Where that is not there, the weighted sum has the
    same gradient, to the bit.
    """
    if _ENGINE is not None:
        _ENGINE((rows,), (weights,), False, False, (), allow_unreachable=True, accumulate_grad=True)
    else:
        torch.autograd.backward((rows * weights).sum())


_ENGINE: Any = getattr(torch.autograd.graph, "_engine_run_backward", None)
