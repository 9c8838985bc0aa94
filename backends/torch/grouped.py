"""Forward and backward passes of many replicas of a small convolutional network, as grouped ones.

A convolution of r groups is r convolutions side by side: the replicas' channels are neighbours in
one batch of images [b, r·C, H, W], of which norms and poolings take each channel by itself anyway.
After the last of them the replicas' features are [r, b, features], and products are batched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from paribus.adapter import Task
from paribus.architectures import Network, Node
from paribus.backends.torch.chain import Dropout, Keys
from paribus.backends.torch.graph import pooled_first

Tensors = Mapping[str, Tensor]


class Grouped:
    """The nodes of a network, each reading the one before.

    Attributes:
        moving: names of the running statistics that training changes.
    """

    def __init__(self, network: Network, task: Task) -> None:
        self._shape, self._trainable = network.input_shape, tuple(task.trainable)
        self._nodes = pooled_first(network)
        self._dropout = {n.name: Dropout(n, False) for n in network.nodes if n.op == "dropout"}
        self._held = task.frozen_norms(network)
        self.moving = tuple(
            name
            for name, tensor in network.tensors.items()
            if tensor.kind == "statistic" and tensor.node not in self._held
        )

    def forward(
        self, x: Tensor, weights: Tensors, keys: Keys | None = None, *, training: bool = False
    ) -> Tensor:
        """Return the outputs [r, b, C] of x [r, b, features]; in training statistics move in place.

        Args:
            x: images as rows of numbers, in the network's order.
            weights: by canonical name, [r, …].
            keys: what is dropped; None for nothing.
            training: whether ``backward`` follows.
        """
        many, rows = x.shape[:2]
        x = x.reshape(many, rows, *self._shape).transpose(0, 1).flatten(1, 2)
        x = x.contiguous(memory_format=torch.channels_last)
        if not training:
            return self._run(x, many, weights, keys, training)
        self._leaves = {name: weights[name].detach() for name in self._trainable}
        with torch.enable_grad():
            for leaf in self._leaves.values():
                leaf.requires_grad_()
            self._outputs = self._run(x, many, {**weights, **self._leaves}, keys, training)
        return self._outputs.detach()

    def backward(self, gradient: Tensor, weights: Tensors, found: Tensors, *, more: bool) -> None:
        """Leave the derivatives by the trainable tensors in ``found``."""
        with torch.enable_grad():
            total = (self._outputs * gradient).sum()
        derivatives = torch.autograd.grad(total, list(self._leaves.values()))
        for name, by in zip(self._leaves, derivatives, strict=True):
            if more:
                found[name].add_(by)
            else:
                found[name].copy_(by)
        del self._outputs, self._leaves

    def _run(
        self, x: Tensor, many: int, weights: Tensors, keys: Keys | None, training: bool
    ) -> Tensor:
        for node in self._nodes:
            if node.op == "dropout":
                x = self._dropout[node.name].forward(x, weights, keys)
            elif node.op == "batch_norm":
                x = _batch_norm(node, x, weights, training and node.name not in self._held)
            else:
                x = _OPERATIONS[node.op](node, x, many, weights)
        return x


def _conv2d(node: Node, x: Tensor, many: int, weights: Tensors) -> Tensor:
    bias = weights[f"{node.name}.bias"].flatten() if node.size("bias") else None
    kernel = weights[f"{node.name}.weight"].flatten(0, 1)
    groups = many * node.size("groups")
    return F.conv2d(x, kernel, bias, node.size("stride"), node.size("padding"), 1, groups)


def _linear(node: Node, x: Tensor, many: int, weights: Tensors) -> Tensor:
    across = weights[f"{node.name}.weight"].transpose(1, 2)
    if not node.size("bias"):
        return torch.bmm(x, across)
    return torch.baddbmm(weights[f"{node.name}.bias"].unsqueeze(1), x, across)


def _batch_norm(node: Node, x: Tensor, weights: Tensors, moving: bool) -> Tensor:
    scale, offset, mean, variance = (
        weights[f"{node.name}.{leaf}"].flatten()
        for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    share, eps = node.attributes["momentum"], node.attributes["eps"]
    if x.ndim == 4:
        return F.batch_norm(x, mean, variance, scale, offset, moving, share, eps)
    beside = x.transpose(0, 1)
    found = F.batch_norm(beside.flatten(1), mean, variance, scale, offset, moving, share, eps)
    return found.view(beside.shape).transpose(0, 1)


def _flatten(node: Node, x: Tensor, many: int, weights: Tensors) -> Tensor:
    return x.reshape(len(x), many, -1).transpose(0, 1)


def _max_pool2d(node: Node, x: Tensor, many: int, weights: Tensors) -> Tensor:
    return F.max_pool2d(x, node.size("kernel"), node.size("stride"), node.size("padding"))


_OPERATIONS: Mapping[str, Callable[[Node, Tensor, int, Tensors], Any]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "relu": lambda node, x, many, weights: F.relu(x),
    "relu6": lambda node, x, many, weights: F.relu6(x),
    "tanh": lambda node, x, many, weights: torch.tanh(x),
    "max_pool2d": _max_pool2d,
    "global_avg_pool": lambda node, x, many, weights: _flatten(node, x.mean((2, 3)), many, weights),
    "flatten": _flatten,
}
