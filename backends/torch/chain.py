"""Forward and backward passes of many replicas of a chain of layers, as batched products.

Autograd costs more than the arithmetic here, and its gradients are accumulated in memory of their
own. The layers are few and their derivatives short, so both passes are written out. Activations
are [replica, row, feature]; in memory a feature's rows lie together, which makes products with few
outputs and sums over classes up to twice as fast.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from paribus.adapter import Task
from paribus.architectures import Network, Node
from paribus.backends.torch import dense
from paribus.backends.torch.noise import mix, signed
from paribus.noise import GOLDEN, scale, threshold, words_per_row

Tensors = Mapping[str, Tensor]


class Keys:
    """What a step drops: keys int32 [r, 2] by node, and the first row's number [r, 1]."""

    def __init__(self, keys: Mapping[str, Tensor], first: Tensor) -> None:
        self.keys, self.first = keys, first


class Layer(ABC):
    """One node. ``forward`` leaves what ``backward`` needs.

    Args:
        node: the node.
        own: whether nothing else reads its input, which may then be overwritten.
    """

    def __init__(self, node: Node, own: bool) -> None:
        self.node, self.own = node, own

    @abstractmethod
    def forward(self, x: Tensor, weights: Tensors, keys: Keys | None) -> Tensor:
        """Return the outputs of x [r, b, …]; without keys as in evaluation."""

    @abstractmethod
    def backward(
        self, gradient: Tensor, weights: Tensors, found: Tensors, *, more: bool, wanted: bool
    ) -> Tensor | None:
        """Return the loss's derivative by x, where it is wanted, from that by the outputs.

        Args:
            gradient: by the outputs.
            weights: by canonical name, [r, …].
            found: where the derivatives by trainable tensors go.
            more: whether they are added to what is there.
            wanted: whether a layer below needs its derivative.
        """


class Linear(Layer):
    """x·Wᵀ + b."""

    def __init__(self, node: Node, own: bool) -> None:
        super().__init__(node, own)
        self._weight, self._bias = f"{node.name}.weight", f"{node.name}.bias"
        self._biased = bool(node.size("bias"))

    def forward(self, x: Tensor, weights: Tensors, keys: Keys | None) -> Tensor:
        """Return [r, b, out]."""
        self._x = x
        weight, across = weights[self._weight], x.transpose(1, 2)
        bias = weights[self._bias].unsqueeze(2) if self._biased else None
        found = dense.of_many(x, weight)
        if found is not None:
            found = found if bias is None else found.add_(bias)
        elif bias is not None:
            found = torch.baddbmm(bias, weight, across)
        else:
            found = torch.bmm(weight, across)
        return found.transpose(1, 2)

    def backward(
        self, gradient: Tensor, weights: Tensors, found: Tensors, *, more: bool, wanted: bool
    ) -> Tensor | None:
        """Return gradient·W; gradientᵀ·x and the sum over rows are found."""
        across = gradient.transpose(1, 2)
        if self._weight in found:
            by = found[self._weight]
            whole = None if more else dense.of_many(self._x.transpose(1, 2), across)
            if whole is not None:
                by.copy_(whole)
            else:
                torch.baddbmm(by, across, self._x, beta=1.0 if more else 0.0, out=by)
        if self._biased and self._bias in found:
            by = found[self._bias]
            if more:
                by += gradient.sum(1)
            else:
                torch.sum(gradient, dim=1, out=by)
        if not wanted:
            return None
        return torch.bmm(weights[self._weight].transpose(1, 2), across).transpose(1, 2)


class ReLU(Layer):
    """max(x, 0); the derivative at 0 is 0."""

    def forward(self, x: Tensor, weights: Tensors, keys: Keys | None) -> Tensor:
        """Return it."""
        self._y = x.relu_() if self.own else x.relu()
        return self._y

    def backward(
        self, gradient: Tensor, weights: Tensors, found: Tensors, *, more: bool, wanted: bool
    ) -> Tensor:
        """Return the gradient where x was positive."""
        by: Tensor = torch.ops.aten.threshold_backward(gradient, self._y, 0)
        return by


class Tanh(Layer):
    """tanh x."""

    def forward(self, x: Tensor, weights: Tensors, keys: Keys | None) -> Tensor:
        """Return it."""
        self._y = x.tanh_() if self.own else x.tanh()
        return self._y

    def backward(
        self, gradient: Tensor, weights: Tensors, found: Tensors, *, more: bool, wanted: bool
    ) -> Tensor:
        """Return gradient · (1 − y²)."""
        by: Tensor = torch.ops.aten.tanh_backward(gradient, self._y)
        return by


class Dropout(Layer):
    """x · kept · scale by the plan's keys (``paribus.noise``)."""

    def __init__(self, node: Node, own: bool) -> None:
        super().__init__(node, own)
        probability = node.attributes["p"]
        self._least, self._scale = threshold(probability), scale(probability)
        self._kept: Tensor | None = None

    def forward(self, x: Tensor, weights: Tensors, keys: Keys | None) -> Tensor:
        """Return it; without keys x."""
        self._kept = None
        if keys is None:
            return x
        rows, size = x.shape[1:]
        each = words_per_row(size)
        own = keys.keys[self.node.name]
        words = torch.arange(rows * each, dtype=torch.int32, device=x.device)
        start = keys.first * each * signed(GOLDEN) + own[:, :1]
        words = words.mul_(signed(GOLDEN)) + start
        mix(words, own[:, 1:])
        kept = words.view(torch.int16) >= self._least - 2**15
        self._kept = kept.view(len(own), rows, 2 * each)[:, :, :size]
        return (x * self._kept).mul_(self._scale)

    def backward(
        self, gradient: Tensor, weights: Tensors, found: Tensors, *, more: bool, wanted: bool
    ) -> Tensor:
        """Return the same of the gradient."""
        if self._kept is None:
            return gradient
        return (gradient * self._kept).mul_(self._scale)


class Flatten(Layer):
    """The input as rows of numbers; ``Rows`` hands it over so."""

    def forward(self, x: Tensor, weights: Tensors, keys: Keys | None) -> Tensor:
        """Return [r, b, features]."""
        return x

    def backward(
        self, gradient: Tensor, weights: Tensors, found: Tensors, *, more: bool, wanted: bool
    ) -> Tensor:
        """Return the gradient."""
        return gradient


LAYERS: dict[str, type[Layer]] = {
    "linear": Linear,
    "relu": ReLU,
    "tanh": Tanh,
    "dropout": Dropout,
    "flatten": Flatten,
}


class Chain:
    """The layers of a network, each reading the one before.

    Attributes:
        moving: names of the running statistics that training changes: of none of these layers.
    """

    moving: tuple[str, ...] = ()

    def __init__(self, network: Network, task: Task) -> None:
        below = (None, *network.nodes)
        self._layers = [
            LAYERS[node.op](node, before is not None and before.op == "linear")
            for before, node in zip(below, network.nodes, strict=False)
        ]
        trainable = {network.tensors[name].node for name in task.trainable}
        # Nothing below the lowest layer that trains needs a derivative.
        self._lowest = next(i for i, n in enumerate(network.nodes) if n.name in trainable)

    def forward(
        self, x: Tensor, weights: Tensors, keys: Keys | None = None, *, training: bool = False
    ) -> Tensor:
        """Return the outputs [r, b, C] of x [r, b, features]; without keys nothing is dropped."""
        for layer in self._layers:
            x = layer.forward(x, weights, keys)
        return x

    def backward(self, gradient: Tensor, weights: Tensors, found: Tensors, *, more: bool) -> None:
        """Leave the derivatives by the trainable tensors in ``found``."""
        at: Any = gradient
        for index in range(len(self._layers) - 1, self._lowest - 1, -1):
            wanted = index > self._lowest
            at = self._layers[index].backward(at, weights, found, more=more, wanted=wanted)
