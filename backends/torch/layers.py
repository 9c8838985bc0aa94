"""Each operation of a network as a module: one table, images as [b, C, H, W].

A module's parameters and buffers are called as the node's canonical tensors are; one that has the
node's own name is called ``value``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from paribus.architectures import Node
from paribus.backends.torch import texts, tokens
from paribus.backends.torch.noise import StochasticDepth


class Add(nn.Module):
    """The sum of two inputs.

    Attributes:
        over: the input that may be written over, 0 or 1, because nothing reads it later; or None.
    """

    def __init__(self) -> None:
        super().__init__()
        self.over: int | None = None

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return ``left + right``."""
        if self.over is None or not _alike(left, right):
            return left + right
        return left.add_(right) if self.over == 0 else right.add_(left)


def _alike(left: Tensor, right: Tensor) -> bool:
    """Whether a sum has the type and the order in memory of both."""
    same_type = left.dtype == right.dtype and left.shape == right.shape
    return same_type and left.stride() == right.stride()


class MaxPool(nn.MaxPool2d):
    """The largest value of each window: [b, C, H, W] → [b, C, H', W'], in its input's order.

    On a CPU PyTorch's kernel takes the windows of many channels at once where these are neighbours
    in memory, and one value after the other where they are not: six to ten times as long. Other
    images are turned for it and back. It finds the same values in the same places.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the windows' largest values."""
        if x.device.type != "cpu" or x.is_contiguous(memory_format=torch.channels_last):
            return self._own(x)
        if torch.is_grad_enabled() and x.requires_grad:
            found: Tensor = _Pooled.apply(x, self.kernel_size, self.stride, self.padding)
            return found
        return self._own(x.contiguous(memory_format=torch.channels_last)).contiguous()

    def _own(self, x: Tensor) -> Tensor:
        found: Tensor = super().forward(x)
        return found


class _Pooled(torch.autograd.Function):
    """``MaxPool`` of images that are channels first, forward in the other order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        turned = x.contiguous(memory_format=torch.channels_last)
        values, places = torch.ops.aten.max_pool2d_with_indices(turned, kernel, stride, padding)
        places = places.contiguous()
        ctx.save_for_backward(x, places)
        ctx.window = kernel, stride, padding
        found: Tensor = values.contiguous()
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, places = ctx.saved_tensors
        kernel, stride, padding = ([size, size] for size in ctx.window)
        found = torch.ops.aten.max_pool2d_with_indices_backward(
            gradient.contiguous(), x, kernel, stride, padding, [1, 1], False, places
        )
        return found, None, None, None


class Flatten(nn.Flatten):
    """An image's values as one vector, channel by channel: [b, C, H, W] → [b, C·H·W].

    Its gradient is in that order, and what is elementwise takes five times as long on a CPU where
    its inputs are not in the same one: behind images that are channels last it is turned at once.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors."""
        if torch.is_grad_enabled() and x.requires_grad and x.device.type == "cpu" and x.ndim == 4:
            last = x.is_contiguous(memory_format=torch.channels_last)
            if last and not x.is_contiguous():
                x.register_hook(_turned)  # type: ignore[no-untyped-call]
        found: Tensor = super().forward(x)
        return found


def _turned(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)


class GlobalAveragePool(nn.Module):
    """The mean over height and width: [b, C, H, W] → [b, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean over the last two axes."""
        return x.mean(dim=(2, 3))


class AdaptiveAveragePool(nn.AdaptiveAvgPool2d):
    """Means over bins: [b, C, H, W] → [b, C, size, size].

    The gradient of PyTorch's own cannot be repeated to the bit on a GPU, and is refused there
    where that is asked for. Bins are products of rows and columns, so each has its turn.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._bins = size

    def forward(self, x: Tensor) -> Tensor:
        """Return the bins' means."""
        return self._means(self._means(x, 2), 3)

    def _means(self, x: Tensor, axis: int) -> Tensor:
        length, bins = x.shape[axis], self._bins
        if length == bins:
            return x
        edges = [(i * length // bins, -(-(i + 1) * length // bins)) for i in range(bins)]
        parts = [x.narrow(axis, first, last - first) for first, last in edges]
        return torch.cat([part.mean(dim=axis, keepdim=True) for part in parts], dim=axis)


def _conv2d(node: Node) -> nn.Module:
    size = node.size
    return nn.Conv2d(
        size("in_channels"),
        size("out_channels"),
        size("kernel"),
        stride=size("stride"),
        padding=size("padding"),
        groups=size("groups"),
        bias=bool(size("bias")),
    )


def _batch_norm(node: Node) -> nn.Module:
    kind = nn.BatchNorm2d if len(node.shape) == 3 else nn.BatchNorm1d
    eps, momentum = node.attributes["eps"], node.attributes["momentum"]
    return kind(node.size("features"), eps=eps, momentum=momentum)


def _linear(node: Node) -> nn.Module:
    bias = bool(node.size("bias"))
    if node.size("transposed"):
        return texts.TransposedLinear(node.size("in_features"), node.size("out_features"), bias)
    return nn.Linear(node.size("in_features"), node.size("out_features"), bias=bias)


def _max_pool2d(node: Node) -> nn.Module:
    return MaxPool(node.size("kernel"), stride=node.size("stride"), padding=node.size("padding"))


OPERATIONS: dict[str, Callable[[Node], nn.Module]] = {
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "linear": _linear,
    "relu": lambda node: nn.ReLU(),
    "relu6": lambda node: nn.ReLU6(),
    "tanh": lambda node: nn.Tanh(),
    "max_pool2d": _max_pool2d,
    "global_avg_pool": lambda node: GlobalAveragePool(),
    "adaptive_avg_pool2d": lambda node: AdaptiveAveragePool(node.size("size")),
    "flatten": lambda node: Flatten(),
    "add": lambda node: Add(),
    "dropout": lambda node: nn.Dropout(node.attributes["p"]),
    "stochastic_depth": lambda node: StochasticDepth(node.attributes["p"]),
    **tokens.OPERATIONS,
    **texts.OPERATIONS,
}
