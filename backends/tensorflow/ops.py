"""Every operation of a network as TensorFlow operations: one table, images as N, H, W, C.

The network's nodes are executed directly, not through Keras layers: that gives BatchNorm its
unbiased running variance, leaves all variables to the caller (a pure function: statistics come
back as values), and traces in a fraction of the time.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from paribus.architectures import INPUT, TARGETS, Network, Node
from paribus.architectures.pooling import bins
from paribus.backends.tensorflow import texts
from paribus.backends.tensorflow.derivatives import gelu, gelu_by_tanh, layer_norm
from paribus.backends.tensorflow.passes import Operation, Pass, product

Tensor = Any


def _conv2d(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x = tf.cast(inputs[0], state.products)
    kernel = tf.cast(state.tensors[f"{node.name}.weight"], state.products)
    padding, stride, groups = node.size("padding"), node.size("stride"), node.size("groups")
    # "SAME" is symmetric for a stride of 1 and this padding only. Explicit padding, as an
    # argument, is half as fast on a CPU as either of these.
    same = stride == 1 and node.size("kernel") == 2 * padding + 1
    if padding and not same:
        x = _padded(x, padding, 0.0)
    padding_rule = "SAME" if same else "VALID"
    if groups == node.size("in_channels") > 1:
        y = tf.nn.depthwise_conv2d(x, kernel, (1, stride, stride, 1), padding_rule)
        return _biased(node, y, state)
    # TensorFlow has no gradient of a grouped convolution on a CPU; groups are independent.
    parts = [
        tf.nn.conv2d(part, weight, stride, padding_rule)
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
    return _biased(node, _product(inputs[0], f"{node.name}.weight", state), state)


def _product(x: Tensor, weight: str, state: Pass) -> Tensor:
    return product(x, state.tensors[weight], state.products)


def _biased(node: Node, x: Tensor, state: Pass) -> Tensor:
    if node.name in state.folded:
        return tf.nn.bias_add(x, tf.cast(state.folded[node.name], x.dtype))
    if not node.size("bias"):
        return x
    return tf.nn.bias_add(x, tf.cast(state.tensors[f"{node.name}.bias"], x.dtype))


def _batch_norm(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    if node.inputs[0] in state.folded:
        return inputs[0]
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


def _adaptive_avg_pool2d(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x, size = inputs[0], node.size("size")
    if x.shape[1:3] == (size, size):
        return x
    rows, columns = (bins(n, size) for n in x.shape[1:3])
    # Bins are products of rows and columns: two small matrix products, whatever they overlap.
    return tf.einsum(
        "hi,bijc,wj->bhwc", tf.constant(rows, x.dtype), x, tf.constant(columns, x.dtype)
    )


def _flatten(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x = inputs[0]
    if x.shape.rank == 4 and x.shape[3] != 1 and (x.shape[1], x.shape[2]) != (1, 1):
        x = tf.transpose(x, (0, 3, 1, 2))
    return tf.reshape(x, (-1, *node.shape))


def _add(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    left, right = inputs
    # A product of low precision joins the parameters' precision, it does not lower the sum.
    if left.dtype != right.dtype:
        wide = left.dtype if right.dtype == state.products else right.dtype
        left, right = tf.cast(left, wide), tf.cast(right, wide)
    return left + right


def _class_token(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    token = state.tensors[node.name]
    x = tf.cast(inputs[0], token.dtype)
    first = tf.broadcast_to(token, (tf.shape(x)[0], 1, node.shape[1]))
    return tf.concat([first, x], 1)


def _position_embedding(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    positions = state.tensors[f"{node.name}.pos_embedding"]
    return tf.cast(inputs[0], positions.dtype) + positions


def _layer_norm(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    scale, offset = (state.tensors[f"{node.name}.{leaf}"] for leaf in ("weight", "bias"))
    return layer_norm(tf.cast(inputs[0], scale.dtype), scale, offset, node.attributes["eps"])


def _gelu(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    return (gelu_by_tanh if node.size("tanh") else gelu)(inputs[0])


def _attention(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    name, tokens, heads = node.name, node.shape[0], node.size("heads")
    width = node.size("width") // heads
    biases = [state.tensors[f"{name}.{leaf}"] for leaf in ("in_proj_bias", "out_proj.bias")]
    x = _product(inputs[0], f"{name}.in_proj_weight", state)
    x = tf.nn.bias_add(x, tf.cast(biases[0], x.dtype))
    x = tf.transpose(tf.reshape(x, (-1, tokens, 3, heads, width)), (2, 0, 3, 1, 4))
    queries, keys, values = tf.unstack(x, 3)
    scores = tf.matmul(queries * width**-0.5, keys, transpose_b=True)
    # Shares that add up to 1 are taken in the parameters' precision.
    shares = tf.nn.softmax(tf.cast(scores, biases[0].dtype))
    shares = state.drop(node, shares, node.attributes.get("dropout", 0.0))
    x = tf.transpose(tf.matmul(tf.cast(shares, x.dtype), values), (0, 2, 1, 3))
    x = _product(tf.reshape(x, (-1, *node.shape)), f"{name}.out_proj.weight", state)
    return tf.nn.bias_add(x, tf.cast(biases[1], x.dtype))


OPERATIONS: dict[str, Operation] = {
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "linear": _linear,
    "relu": lambda node, inputs, state: tf.nn.relu(inputs[0]),
    "relu6": lambda node, inputs, state: tf.nn.relu6(inputs[0]),
    "tanh": lambda node, inputs, state: tf.tanh(inputs[0]),
    "max_pool2d": _max_pool2d,
    "global_avg_pool": lambda node, inputs, state: tf.reduce_mean(inputs[0], (1, 2)),
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "flatten": _flatten,
    "add": _add,
    "dropout": lambda node, inputs, state: state.drop(node, inputs[0], node.attributes["p"]),
    "stochastic_depth": lambda node, inputs, state: state.drop(
        node, inputs[0], node.attributes["p"], whole=True
    ),
    "tokens": lambda node, inputs, state: tf.reshape(inputs[0], (-1, *node.shape)),
    "class_token": _class_token,
    "position_embedding": _position_embedding,
    "first_token": lambda node, inputs, state: inputs[0][:, 0],
    "layer_norm": _layer_norm,
    "gelu": _gelu,
    "attention": _attention,
    **texts.OPERATIONS,
}


def run(network: Network, x: Tensor, positions: Tensor | None, state: Pass) -> Tensor:
    """Return the outputs [rows, C], or [rows, M, C] of language models.

    Args:
        network: whose nodes are executed.
        x: inputs [rows, H, W, C], [rows, features], or token numbers [rows, T] or [rows, T, 2].
        positions: int64 [rows, M], what a masked language model predicts; None for everything.
        state: the pass.
    """
    return values(network, x, positions, state)[network.nodes[-1].name]


def values(network: Network, x: Tensor, positions: Tensor | None, state: Pass) -> dict[str, Tensor]:
    """Return every node's output by name, images [rows, H, W, C]; arguments as of ``run``."""
    found: dict[str, Tensor] = {INPUT: x, TARGETS: positions}
    for node in network.nodes:
        inputs = [found[name] for name in node.inputs]
        found[node.name] = OPERATIONS[node.op](node, inputs, state)
    return {node.name: found[node.name] for node in network.nodes}
