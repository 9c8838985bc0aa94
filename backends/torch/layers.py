"""Each operation of a network as a module: one table, images as [b, C, H, W].

A module's parameters and buffers are called as the node's canonical tensors are; one that has the
node's own name is called ``value``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from paribus.architectures import Node
from paribus.backends.torch import texts, tokens
from paribus.backends.torch.noise import StochasticDepth


class Add(nn.Module):
    """The sum of two inputs."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return ``left + right``."""
        return left + right


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
    return nn.MaxPool2d(
        node.size("kernel"), stride=node.size("stride"), padding=node.size("padding")
    )


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
    "flatten": lambda node: nn.Flatten(),
    "add": lambda node: Add(),
    "dropout": lambda node: nn.Dropout(node.attributes["p"]),
    "stochastic_depth": lambda node: StochasticDepth(node.attributes["p"]),
    **tokens.OPERATIONS,
    **texts.OPERATIONS,
}
