"""A network in float64 NumPy, written from the definitions: what every backend must agree with.

It is slow and obvious on purpose. It shares no line with an adapter: convolution is a tensor
product of windows, the mean and variance of BatchNorm are NumPy's. Tests and the conformance suite
compare adapters with it, and ``verify`` asks it what one changed definition would have given.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.architectures import INPUT, TARGETS, Network, Node
from paribus.noise import Keys
from paribus.reference import images, texts
from paribus.reference.dropping import Drop
from paribus.reference.inputs import preprocess
from paribus.reference.losses import cross_entropy, row_losses

Array = npt.NDArray[Any]


def forward(
    network: Network,
    tensors: Mapping[str, Array],
    x: Array,
    *,
    training: bool = False,
    frozen: Collection[str] = (),
    positions: Array | None = None,
    noise: Keys | None = None,
    first_row: int = 0,
) -> tuple[Array, dict[str, Array]]:
    """Return outputs [n, C] (language models: [n, M, C]) and the statistics that training leaves.

    ``x`` is [n, C, H, W] or [n, features], already preprocessed, or token numbers; ``frozen`` are
    the names of BatchNorm nodes that run in evaluation mode whatever ``training`` says;
    ``positions`` [n, M] are what a masked language model predicts; ``noise`` int32 [L, 2] are the
    keys of a step, whose rows from ``first_row`` on ``x`` has: without them nothing is dropped.
    """
    values, statistics = trace(
        network, tensors, x, training=training, frozen=frozen, positions=positions, noise=noise,
        first_row=first_row,
    )  # fmt: skip
    return values[network.nodes[-1].name], statistics


def trace(
    network: Network,
    tensors: Mapping[str, Array],
    x: Array,
    *,
    training: bool = False,
    frozen: Collection[str] = (),
    positions: Array | None = None,
    noise: Keys | None = None,
    first_row: int = 0,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return every node's output by name, and statistics; arguments as of ``forward``."""
    dtype = np.int64 if network.reads_tokens else np.float64
    values: dict[str, Any] = {INPUT: np.asarray(x, dtype=dtype), TARGETS: positions}
    statistics = {n: tensors[n] for n, t in network.tensors.items() if t.kind == "statistic"}
    keys = {} if noise is None else dict(zip(network.noisy, noise, strict=True))
    drop = Drop(keys, range(first_row, first_row + len(x)))
    for node in network.nodes:
        inputs = [values[name] for name in node.inputs]
        live = training and node.name not in frozen
        values[node.name] = apply(node, tensors, inputs, live, statistics, drop)
    return values, statistics


def apply(
    node: Node,
    tensors: Mapping[str, Array],
    inputs: Sequence[Any],
    training: bool,
    statistics: dict[str, Array],
    drop: Drop | None = None,
) -> Array:
    """Return one node's output of its inputs; what training leaves goes into ``statistics``."""
    if node.op in DROPPING:
        nothing = drop or Drop({}, range(0))
        return np.asarray(DROPPING[node.op](node, tensors, *inputs, drop=nothing))
    if node.op == "batch_norm":
        return images.batch_norm(node, tensors, inputs[0], training, statistics)
    if node.shares:
        bias = tensors[f"{node.name}.bias"] if node.size("bias") else 0.0
        return np.asarray(inputs[0] @ tensors[node.shares].T + bias)
    return np.asarray(OPERATIONS[node.op](node, tensors, *inputs))


def _dropout(node: Node, tensors: Mapping[str, Array], x: Array, *, drop: Drop) -> Array:
    return drop(node, node.attributes["p"], x, whole=node.op == "stochastic_depth")


OPERATIONS: Mapping[str, Any] = {**images.OPERATIONS, **texts.OPERATIONS}
# Those that drop.
DROPPING: Mapping[str, Any] = {
    "dropout": _dropout,
    "stochastic_depth": _dropout,
    "attention": texts.attention,
    "dot_product_attention": texts.dot_product_attention,
}

__all__ = [
    "DROPPING",
    "OPERATIONS",
    "Drop",
    "apply",
    "cross_entropy",
    "forward",
    "preprocess",
    "row_losses",
    "trace",
]
