"""One forward pass: what every operation is given, and the product that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from paribus.architectures import Node

Tensor = Any


@dataclass
class Pass:
    """One forward pass.

    Attributes:
        tensors: canonical name → value, in the canonical layout.
        dtype: of the parameters; products: of convolutions and linear layers.
        training: whether BatchNorm uses the batch's moments.
        frozen: ``batch_norm`` nodes in evaluation mode whatever ``training`` says.
        real: bool [b], the rows that moments are taken over; None for all.
        keys: int32 [2] by name of a noisy node; empty where nothing is dropped.
        places: uint32 [b], the rows' places in the step's batch.
        folded: convolution → bias, where its weights hold the batch norm after it as well.
        statistics: the running statistics after the pass, of the nodes that updated theirs.
    """

    tensors: Mapping[str, Tensor]
    dtype: Any
    products: Any
    training: bool = False
    frozen: frozenset[str] = frozenset()
    real: Tensor | None = None
    keys: Mapping[str, Tensor] = field(default_factory=dict)
    places: Tensor | None = None
    folded: Mapping[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)

    def own(self, node: Node, *leaves: str) -> list[Tensor]:
        """Return a node's tensors by the last parts of their names."""
        return [self.tensors[f"{node.name}.{leaf}"] for leaf in leaves]


Operation = Callable[[Node, list[Tensor], Pass], Tensor]


def product(x: Tensor, weight: Tensor, state: Pass, *, transposed: bool = False) -> Tensor:
    """Multiply the last axis of ``x`` with a weight (out, in), or (in, out) if ``transposed``."""
    weight = weight.astype(state.products)
    return x.astype(state.products) @ (weight if transposed else weight.T)
