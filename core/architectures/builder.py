"""Writing a network down: nodes are added one by one, shapes and tensors follow."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Literal

from paribus.architectures.network import (
    INPUT,
    TARGETS,
    Initializer,
    Network,
    Node,
    Objective,
    Shape,
    Tensor,
)
from paribus.errors import SpecError


class Builder:
    """Collects nodes, follows their shapes and derives the canonical tensors.

    Each method adds one node, returns its name for use as an input, and raises ``SpecError``
    where the input is too small for the operation.
    """

    def __init__(
        self, architecture: str, input_shape: Shape, objective: Objective = "classification"
    ) -> None:
        self.architecture = architecture
        self.input_shape = input_shape
        self.objective = objective
        self.stage = ""
        self._nodes: list[Node] = []
        self._tensors: dict[str, Tensor] = {}
        self._shapes: dict[str, Shape] = {INPUT: input_shape, TARGETS: ()}

    def shape(self, node: str) -> Shape:
        """Return the output shape of a node for one example."""
        return self._shapes[node]

    def conv2d(
        self,
        name: str,
        source: str,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        weight: Initializer,
        bias: Initializer | None = None,
    ) -> str:
        """Add a 2-D convolution with symmetric zero padding."""
        channels, height, width = self._image(source, name)
        out = (out_channels, *self._window(name, (height, width), kernel, stride, padding))
        self._add(name, "conv2d", (source,), out, in_channels=channels, out_channels=out_channels,
                  kernel=kernel, stride=stride, padding=padding, groups=groups,
                  bias=int(bias is not None))  # fmt: skip
        self._tensor(name, "weight", (out_channels, channels // groups, kernel, kernel),
                     "weight", weight)  # fmt: skip
        if bias is not None:
            self._tensor(name, "bias", (out_channels,), "bias", bias)
        return name

    def batch_norm(
        self, name: str, source: str, *, eps: float = 1e-5, momentum: float = 0.1, scale: float = 1
    ) -> str:
        """Add batch normalisation over the channel axis; ``scale`` initialises its weight."""
        features = self.shape(source)[0]
        self._add(name, "batch_norm", (source,), self.shape(source), features=features, eps=eps,
                  momentum=momentum)  # fmt: skip
        one, zero = Initializer("constant", 1.0), Initializer("constant", 0.0)
        self._tensor(name, "weight", (features,), "norm", Initializer("constant", float(scale)))
        self._tensor(name, "bias", (features,), "norm", zero)
        self._tensor(name, "running_mean", (features,), "norm", zero, "statistic")
        self._tensor(name, "running_var", (features,), "norm", one, "statistic")
        return name

    def linear(
        self,
        name: str,
        source: str,
        out_features: int,
        *,
        weight: Initializer,
        bias: Initializer | None,
        transposed: bool = False,
    ) -> str:
        """Add a fully connected layer over the last axis of a vector or of tokens."""
        *tokens, features = self.shape(source)
        if len(tokens) > 1:
            raise ValueError(f"{name}: flatten {self.shape(source)} first")
        self._add(name, "linear", (source,), (*tokens, out_features), in_features=features,
                  out_features=out_features, bias=int(bias is not None),
                  transposed=int(transposed))  # fmt: skip
        shape = (features, out_features) if transposed else (out_features, features)
        self._tensor(name, "weight", shape, "weight", weight)
        if bias is not None:
            self._tensor(name, "bias", (out_features,), "bias", bias)
        return name

    def max_pool2d(
        self, name: str, source: str, kernel: int, *, stride: int, padding: int = 0
    ) -> str:
        """Add max pooling; padding never wins."""
        channels, height, width = self._image(source, name)
        out = (channels, *self._window(name, (height, width), kernel, stride, padding))
        self._add(name, "max_pool2d", (source,), out, kernel=kernel, stride=stride, padding=padding)
        return name

    def global_avg_pool(self, name: str, source: str) -> str:
        """Add the mean over height and width."""
        self._add(name, "global_avg_pool", (source,), (self._image(source, name)[0],))
        return name

    def adaptive_avg_pool2d(self, name: str, source: str, size: int) -> str:
        """Add means over ``size`` × ``size`` bins that cover the image, whatever its size."""
        channels = self._image(source, name)[0]
        self._add(name, "adaptive_avg_pool2d", (source,), (channels, size, size), size=size)
        return name

    def flatten(self, name: str, source: str) -> str:
        """Add row-major flattening over (C, H, W)."""
        self._add(name, "flatten", (source,), (prod(self.shape(source)),))
        return name

    def elementwise(self, name: str, op: str, source: str) -> str:
        """Add ``relu``, ``relu6`` or ``tanh``."""
        self._add(name, op, (source,), self.shape(source))
        return name

    def dropout(self, name: str, source: str, probability: float) -> str:
        """Add dropout of single values; where nothing is dropped, no node but ``source`` itself."""
        if probability == 0:
            return source
        self._add(name, "dropout", (source,), self.shape(source), p=probability)
        return name

    def stochastic_depth(self, name: str, source: str, probability: float) -> str:
        """Add dropout of whole examples, before a shortcut is added; no node for a 0."""
        if probability == 0:
            return source
        self._add(name, "stochastic_depth", (source,), self.shape(source), p=probability)
        return name

    def add(self, name: str, left: str, right: str) -> str:
        """Add the sum of two nodes of equal shape."""
        if self.shape(left) != self.shape(right):
            raise ValueError(f"{name}: {self.shape(left)} and {self.shape(right)} do not add")
        self._add(name, "add", (left, right), self.shape(left))
        return name

    def build(self, parameters: Mapping[str, Any], classes: int) -> Network:
        """Return the finished network."""
        return Network(self.architecture, dict(parameters), self.input_shape, classes,
                       tuple(self._nodes), dict(self._tensors), self.objective)  # fmt: skip

    def _image(self, source: str, name: str) -> tuple[int, int, int]:
        shape = self.shape(source)
        if len(shape) != 3:
            raise SpecError(
                f"model.architecture = {self.architecture!r} needs images (channels, height, "
                f"width), but the data has examples of shape {shape} at {name!r}; "
                "choose architecture = 'mlp' for tables"
            )
        return shape

    def _window(
        self, name: str, size: tuple[int, int], kernel: int, stride: int, padding: int
    ) -> Shape:
        out = tuple((n + 2 * padding - kernel) // stride + 1 for n in size)
        if min(out) < 1:
            raise SpecError(
                f"model.architecture = {self.architecture!r}: the input "
                f"{self.input_shape} is too small; {name!r} would see {size[0]}×{size[1]} with "
                f"a {kernel}×{kernel} window. Use larger images (data.image.size) or fewer stages"
            )
        return out

    def _add(
        self,
        name: str,
        op: str,
        inputs: tuple[str, ...],
        shape: Shape,
        shares: str = "",
        dropout: float = 0.0,
        **attributes: float,
    ) -> None:
        if name in self._shapes:
            raise ValueError(f"two nodes are called {name!r}")
        if not self.stage:
            raise ValueError(f"{name!r} belongs to no stage")
        if dropout:
            attributes["dropout"] = dropout
        self._nodes.append(Node(name, op, inputs, self.stage, shape, attributes, shares))
        self._shapes[name] = shape

    def _tensor(
        self,
        node: str,
        leaf: str,
        shape: Shape,
        role: Literal["weight", "bias", "norm"],
        initializer: Initializer,
        kind: Literal["parameter", "statistic"] = "parameter",
    ) -> None:
        name = f"{node}.{leaf}" if leaf else node
        self._tensors[name] = Tensor(name, shape, kind, role, initializer, node, self.stage)
