"""One forward pass: what every operation is given, and the product that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from paribus.architectures import Node
from paribus.backends.tensorflow.noise import Noise

Tensor = Any


@dataclass
class Pass:
    """One forward pass.

    Attributes:
        tensors: canonical name → value, in Keras's layouts.
        training: whether BatchNorm uses the batch's moments.
        frozen: ``batch_norm`` nodes in evaluation mode whatever ``training`` says.
        dtype: of the parameters; products: of convolutions and linear layers.
        noise: what is dropped; None for nothing.
        folded: convolution → bias, where its weights hold the batch norm after it as well.
        statistics: the running statistics after the pass, of the nodes that updated theirs.
    """

    tensors: Mapping[str, Tensor]
    training: bool
    frozen: frozenset[str]
    dtype: Any
    products: Any
    noise: Noise | None = None
    folded: Mapping[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)

    def drop(self, node: Node, x: Tensor, p: float, *, whole: bool = False) -> Tensor:
        """Return ``x`` without what a node drops; see ``Noise.drop``."""
        return x if self.noise is None or p == 0 else self.noise.drop(node, x, p, whole=whole)


Operation = Callable[[Node, list[Tensor], Pass], Tensor]


def product(x: Tensor, kernel: Tensor, dtype: Any, *, transposed: bool = False) -> Tensor:
    """Multiply the last axis; one product of matrices, also of sequences and for the gradient."""
    kernel = tf.cast(kernel, dtype)
    rows = tf.reshape(tf.cast(x, dtype), (-1, x.shape[-1]))
    width = kernel.shape[0 if transposed else -1]
    found = tf.matmul(rows, kernel, transpose_b=transposed)
    return tf.reshape(found, (-1, *x.shape[1:-1], width))
