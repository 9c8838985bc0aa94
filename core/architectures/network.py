"""A network as data: nodes in execution order, and the canonical tensors that follow from them.

Each architecture is written once, here in core, as a list of nodes. An adapter needs one small
table from operation names to its framework's operations and executes every architecture, present
and future; or it takes the framework's own published model and uses the nodes only for names and
stages. Canonical layouts are those of published checkpoints: images are channels first (C, H, W),
convolution weights (out, in / groups, height, width), linear weights (out, in).

Operations and their attributes (all sizes in elements):

    conv2d           in_channels out_channels kernel stride padding groups bias(0/1)
                     cross-correlation with symmetric zero padding; tensors weight, [bias]
    batch_norm       features eps momentum
                     training: biased batch variance normalises, unbiased variance n/(n−1) updates
                     running ← (1 − momentum)·running + momentum·batch
                     tensors weight, bias; statistics running_mean, running_var
    linear           in_features out_features bias(0/1); tensors weight, [bias]
    relu, tanh       element-wise
    max_pool2d       kernel stride padding; padding never wins (−∞)
    global_avg_pool  mean over height and width: (C, H, W) → (C,)
    flatten          row-major over (C, H, W), whatever the adapter's own layout
    add              sum of its two inputs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, Literal

from paribus.errors import SpecError

INPUT = "input"
HEAD = "head"

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Initializer:
    """How core draws a tensor: ``scale`` times a draw of ``kind``, or a constant ``scale``.

    ``normal`` has standard deviation ``scale``; ``uniform`` covers (−scale, scale);
    ``truncated_normal`` is cut at two standard deviations; ``constant`` is ``scale`` everywhere.
    """

    kind: Literal["constant", "uniform", "normal", "truncated_normal"]
    scale: float


@dataclass(frozen=True, slots=True)
class Tensor:
    """One canonical tensor: a parameter that trains, or a statistic that a forward pass updates.

    ``role`` is what weight-decay rules speak of: ``weight``, ``bias`` or ``norm``.
    """

    name: str
    shape: Shape
    kind: Literal["parameter", "statistic"]
    role: Literal["weight", "bias", "norm"]
    initializer: Initializer
    node: str
    stage: str


@dataclass(frozen=True, slots=True)
class Node:
    """One operation; ``name`` is the canonical module name, the prefix of its tensors' names.

    ``shape`` is the output's shape for one example, channels first, without the batch.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    stage: str
    shape: Shape
    attributes: Mapping[str, float] = field(default_factory=dict)

    def size(self, attribute: str) -> int:
        """Return an integer attribute."""
        return int(self.attributes[attribute])


@dataclass(frozen=True)
class Network:
    """An architecture for one input shape and number of classes.

    ``parameters`` are the architecture's own (JSON values); together with ``architecture``,
    ``input_shape`` and ``classes`` they rebuild the same network through ``architectures.build``.
    """

    architecture: str
    parameters: Mapping[str, Any]
    input_shape: Shape
    classes: int
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]

    @cached_property
    def stages(self) -> tuple[str, ...]:
        """Stage names from input to output; the last is always ``head``."""
        return tuple(dict.fromkeys(node.stage for node in self.nodes))

    @cached_property
    def node(self) -> Mapping[str, Node]:
        """Nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def parameter_count(self) -> int:
        """Number of trainable scalars (statistics not counted)."""
        return sum(prod(t.shape) for t in self.tensors.values() if t.kind == "parameter")

    def trainable(self, freeze: str) -> tuple[str, ...]:
        """Return the parameters left free by ``freeze``, in canonical order.

        ``freeze`` is ``none``, ``body`` (all but the head), or a stage's name: that stage and
        everything above it stay free, everything below is frozen.

        Raises:
            SpecError: no such stage.
        """
        if freeze == "none":
            free = set(self.stages)
        else:
            stage = HEAD if freeze == "body" else freeze
            if stage not in self.stages:
                allowed = ", ".join(("none", "body", *self.stages))
                raise SpecError(
                    f"freeze = {freeze!r}: {self.architecture} has no such stage; "
                    f"allowed: {allowed}"
                )
            free = set(self.stages[self.stages.index(stage) :])
        return tuple(
            name for name, t in self.tensors.items() if t.kind == "parameter" and t.stage in free
        )


class Builder:
    """Collects nodes, follows their shapes and derives the canonical tensors.

    Each method adds one node, returns its name for use as an input, and raises ``SpecError``
    where the input is too small for the operation.
    """

    def __init__(self, architecture: str, input_shape: Shape) -> None:
        self.architecture = architecture
        self.input_shape = input_shape
        self.stage = ""
        self._nodes: list[Node] = []
        self._tensors: dict[str, Tensor] = {}
        self._shapes: dict[str, Shape] = {INPUT: input_shape}

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
    ) -> str:
        """Add a fully connected layer on a flat input."""
        (features,) = self.shape(source)
        self._add(name, "linear", (source,), (out_features,), in_features=features,
                  out_features=out_features, bias=int(bias is not None))  # fmt: skip
        self._tensor(name, "weight", (out_features, features), "weight", weight)
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

    def flatten(self, name: str, source: str) -> str:
        """Add row-major flattening over (C, H, W)."""
        self._add(name, "flatten", (source,), (prod(self.shape(source)),))
        return name

    def elementwise(self, name: str, op: str, source: str) -> str:
        """Add ``relu`` or ``tanh``."""
        self._add(name, op, (source,), self.shape(source))
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
                       tuple(self._nodes), dict(self._tensors))  # fmt: skip

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
        self, name: str, op: str, inputs: tuple[str, ...], shape: Shape, **attributes: float
    ) -> None:
        if name in self._shapes:
            raise ValueError(f"two nodes are called {name!r}")
        if not self.stage:
            raise ValueError(f"{name!r} belongs to no stage")
        self._nodes.append(Node(name, op, inputs, self.stage, shape, attributes))
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
        name = f"{node}.{leaf}"
        self._tensors[name] = Tensor(name, shape, kind, role, initializer, node, self.stage)
