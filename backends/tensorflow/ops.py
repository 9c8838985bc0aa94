"""Every operation of a network as TensorFlow operations: one table, images as N, H, W, C.

The network's nodes are executed directly, not through Keras layers: that gives BatchNorm its
unbiased running variance, leaves all variables to the caller (a pure function: statistics come
back as values), and traces in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from paribus.architectures import INPUT, Network, Node

Tensor = Any


@dataclass
class Pass:
    """One forward pass.

    Attributes:
        tensors: canonical name → value, in Keras's layouts.
        training: whether BatchNorm uses the batch's moments.
        frozen: ``batch_norm`` nodes in evaluation mode whatever ``training`` says.
        products: dtype in which convolutions and linear layers are computed.
        statistics: the running statistics after the pass, of the nodes that updated theirs.
    """

    tensors: Mapping[str, Tensor]
    training: bool
    frozen: frozenset[str]
    products: Any
    statistics: dict[str, Tensor] = field(default_factory=dict)


Operation = Callable[[Node, list[Tensor], Pass], Tensor]


def _conv2d(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x = tf.cast(inputs[0], state.products)
    kernel = tf.cast(state.tensors[f"{node.name}.weight"], state.products)
    padding, stride, groups = node.size("padding"), node.size("stride"), node.size("groups")
    # "SAME" is symmetric for a stride of 1 and this padding only. Explicit padding, as an
    # argument, is half as fast on a CPU as either of these.
    same = stride == 1 and node.size("kernel") == 2 * padding + 1
    if padding and not same:
        x = _padded(x, padding, 0.0)
    # TensorFlow has no gradient of a grouped convolution on a CPU; groups are independent.
    parts = [
        tf.nn.conv2d(part, weight, stride, "SAME" if same else "VALID")
        for part, weight in zip(
            tf.split(x, groups, 3) if groups > 1 else [x],
            tf.split(kernel, groups, 3) if groups > 1 else [kernel],
            strict=True,
        )
    ]
    return _biased(node, parts[0] if groups == 1 else tf.concat(parts, 3), state)


def _padded(x: Tensor, padding: int, value: float) -> Tensor:
    sides = [[0, 0], [padding, padding], [padding, padding], [0, 0]]
    return tf.pad(x, sides, constant_values=tf.cast(value, x.dtype))


def _linear(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    kernel = tf.cast(state.tensors[f"{node.name}.weight"], state.products)
    return _biased(node, tf.matmul(tf.cast(inputs[0], state.products), kernel), state)


def _biased(node: Node, x: Tensor, state: Pass) -> Tensor:
    if not node.size("bias"):
        return x
    return tf.nn.bias_add(x, tf.cast(state.tensors[f"{node.name}.bias"], x.dtype))


def _batch_norm(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    names = [f"{node.name}.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")]
    scale, offset, mean, variance = (state.tensors[name] for name in names)
    x, eps = tf.cast(inputs[0], scale.dtype), node.attributes["eps"]
    training = state.training and node.name not in state.frozen
    # The fused kernel is single precision and for images; its training form returns the
    # variance already as n/(n−1) times the biased one.
    if x.dtype == tf.float32 and x.shape.rank == 4:
        moments = () if training else (mean, variance)
        y, batch_mean, batch_variance = tf.compat.v1.nn.fused_batch_norm(
            x, scale, offset, *moments, epsilon=eps, is_training=training
        )
    else:
        batch_mean, batch_variance = mean, variance
        if training:
            axes = list(range(x.shape.rank - 1))
            batch_mean = tf.reduce_mean(x, axes)
            batch_variance = tf.reduce_mean(tf.math.squared_difference(x, batch_mean), axes)
        y = tf.nn.batch_normalization(x, batch_mean, batch_variance, offset, scale, eps)
        if training:
            count = tf.cast(tf.reduce_prod(tf.shape(x)[:-1]), x.dtype)
            batch_variance *= count / tf.maximum(count - 1, 1)
    if training:
        share = node.attributes["momentum"]
        for name, old, new in zip(
            names[2:], (mean, variance), (batch_mean, batch_variance), strict=True
        ):
            state.statistics[name] = (1.0 - share) * old + share * tf.stop_gradient(new)
    return y


def _max_pool2d(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x, padding = inputs[0], node.size("padding")
    if padding:
        x = _padded(x, padding, x.dtype.min)
    return tf.nn.max_pool2d(x, node.size("kernel"), node.size("stride"), "VALID")


def _flatten(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x = inputs[0]
    if x.shape.rank == 4 and x.shape[3] != 1 and (x.shape[1], x.shape[2]) != (1, 1):
        x = tf.transpose(x, (0, 3, 1, 2))
    return tf.reshape(x, (-1, *node.shape))


OPERATIONS: dict[str, Operation] = {
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "linear": _linear,
    "relu": lambda node, inputs, state: tf.nn.relu(inputs[0]),
    "tanh": lambda node, inputs, state: tf.tanh(inputs[0]),
    "max_pool2d": _max_pool2d,
    "global_avg_pool": lambda node, inputs, state: tf.reduce_mean(inputs[0], (1, 2)),
    "flatten": _flatten,
    "add": lambda node, inputs, state: inputs[0] + inputs[1],
}


def run(network: Network, x: Tensor, state: Pass) -> Tensor:
    """Return the logits [rows, C] of inputs ``x`` [rows, H, W, C] or [rows, features]."""
    values = {INPUT: x}
    for node in network.nodes:
        inputs = [values[name] for name in node.inputs]
        values[node.name] = OPERATIONS[node.op](node, inputs, state)
    return values[network.nodes[-1].name]
