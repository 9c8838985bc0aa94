"""A node of a forward pass, and what it computes with something about it replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from paribus import reference
from paribus.adapter import Array
from paribus.architectures import Node

# What drops values does nothing here: passes that are compared draw no noise.
NOISY = ("dropout", "stochastic_depth")
Tensors = Mapping[str, Array]
Compute = Callable[[Sequence[Any]], Array]


@dataclass(frozen=True)
class Place:
    """A node with its tensors, and whether it runs in training mode."""

    node: Node
    tensors: Tensors
    training: bool

    def compute(self, inputs: Sequence[Any]) -> Array:
        """Return the definition's output."""
        if self.node.op in NOISY:
            return np.asarray(inputs[0])
        return reference.apply(self.node, self.tensors, inputs, self.training, {})

    def given(self, tensors: Tensors) -> Compute:
        """Return the computation with some tensors replaced."""
        return replace(self, tensors={**self.tensors, **tensors}).compute

    def having(self, **attributes: float) -> Compute:
        """Return the computation with some attributes replaced."""
        changed = replace(self.node, attributes={**self.node.attributes, **attributes})
        return replace(self, node=changed).compute

    @property
    def own(self) -> dict[str, Array]:
        """The node's own tensors."""
        # A node may be called like the folder of another, whose tensors are not its own.
        leaves = _LEAVES.get(self.node.op, ("weight", "bias"))
        names = [f"{self.node.name}.{leaf}" for leaf in leaves]
        return {name: self.tensors[name] for name in names if name in self.tensors}


_LEAVES = {
    "attention": ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"),
    "position_embedding": ("pos_embedding",),
    **dict.fromkeys(("add", "relu", "relu6", "gelu", "tanh", "dot_product_attention"), ()),
}
