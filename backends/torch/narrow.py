"""Convolutions in bfloat16 between layers in float32, on a CPU.

Autocast computes everything behind a convolution in bfloat16, too, and PyTorch's pooling and its
like take longer in it. Here a convolution alone is: its images and weights are rounded, and what
comes out is float32 again, as are the parameters and their gradients.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Input channels from which on that is faster: with one, it takes 1.4 × as long as in float32.
LEAST = 16


def suits(layer: nn.Module) -> bool:
    """Return whether a layer is a convolution that may gain."""
    return isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.in_channels >= LEAST


def attach(module: nn.Module) -> list[Callable[[], None]]:
    """Let a module's convolutions compute in bfloat16; return what takes it back, one for each."""
    return [_lend(layer) for layer in module.modules() if suits(layer)]


def _lend(layer: nn.Module) -> Callable[[], None]:
    assert isinstance(layer, nn.Conv2d)

    def forward(x: Tensor) -> Tensor:
        half = torch.bfloat16
        bias = None if layer.bias is None else layer.bias.to(half)
        found = F.conv2d(
            x.to(half), layer.weight.to(half), bias, layer.stride, layer.padding, layer.dilation
        )
        return found.to(x.dtype)

    # An attribute of this one module, before the class's own.
    setattr(layer, "forward", forward)  # noqa: B010 (mypy: a method cannot be assigned to)
    return lambda: delattr(layer, "forward")
