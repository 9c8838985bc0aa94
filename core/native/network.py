"""A user's model as a ``Network``: tensors and the modules that own them, no operations.

Its nodes are the modules that own tensors, in the order of definition, with the operation
``native``: what they compute is the user's code, which only a backend that has a builder runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from paribus.architectures.network import (
    INPUT,
    Initializer,
    Network,
    Node,
    Objective,
    Shape,
    Tensor,
)
from paribus.errors import SpecError
from paribus.native.builder import Builder
from paribus.native.inspection import NativeTensor
from paribus.native.layout import Table

NATIVE = "native"
# What a module was given, among its activations.
GIVEN = " (input)"


@dataclass(frozen=True)
class NativeNetwork(Network):
    """A model of the user's own, on the backends that have a builder.

    Attributes:
        builders: by backend.
        tables: by backend, of those whose own names and layouts are not the canonical ones.
        native: by backend, likewise: the tensors as that backend knows them.
    """

    builders: Mapping[str, Builder] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    native: Mapping[str, tuple[NativeTensor, ...]] = field(default_factory=dict)

    @cached_property
    def noisy(self) -> tuple[str, ...]:
        """One name for all that the model draws: what it drops is its own code's affair.

        The plan's keys of a step are where the framework's generator starts in it, so that a run
        that is gone on with drops what it would have dropped.
        """
        return (NATIVE,)

    def builder(self, backend: str) -> Builder:
        """Return a backend's builder.

        Raises:
            SpecError: it has none.
        """
        if backend not in self.builders:
            raise SpecError(
                f"native: there is no model for backend {backend!r}; the spec has one for "
                f"{', '.join(self.builders)}. Give native.{backend} = 'module:function'"
            )
        return self.builders[backend]

    def own(self, backend: str) -> NativeNetwork:
        """Return the network in a backend's own names and layouts: what its ``open`` is given."""
        if backend not in self.tables:
            return self
        return replace(
            build(self.native[backend], self.input_shape, self.classes, self.objective),
            builders=self.builders,
        )

    def trainable(self, freeze: str) -> tuple[str, ...]:
        """Return all parameters.

        Raises:
            SpecError: a part is to be frozen; nothing is known of the stages of a user's model.
        """
        if freeze != "none":
            raise SpecError(
                f"freeze = {freeze!r}: a model of your own has no stages that paribus knows; "
                "freeze in the builder (requires_grad = False, trainable = False), and set "
                "freeze = 'none'"
            )
        return super().trainable(freeze)


def build(
    tensors: tuple[NativeTensor, ...], input_shape: Shape, classes: int, objective: Objective
) -> NativeNetwork:
    """Return the network of tensors that are canonical as they are."""
    found: dict[str, Tensor] = {}
    nodes: dict[str, Node] = {}
    before = INPUT
    for tensor in tensors:
        node = tensor.module or tensor.name
        stage = node.replace("/", ".").partition(".")[0]
        if node not in nodes:
            nodes[node] = Node(node, NATIVE, (before,), stage, ())
            before = node
        # The user's code draws it; weights.draw refuses to.
        drawn = Initializer("constant", 0.0)
        found[tensor.name] = Tensor(
            tensor.name, tensor.shape, tensor.kind, tensor.role, drawn, node, stage
        )
    return NativeNetwork(NATIVE, {}, input_shape, classes, tuple(nodes.values()), found, objective)
