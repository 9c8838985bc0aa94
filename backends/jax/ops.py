"""Every operation of a network in JAX: one table, images as N, H, W, C, tensors as published.

Weights keep their canonical layout, also inside: XLA transposes a kernel at no measurable cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import pi, sqrt
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from paribus.architectures import INPUT, TARGETS, Network, Node
from paribus.architectures.pooling import bins
from paribus.backends.jax import texts
from paribus.backends.jax.noise import dropped
from paribus.backends.jax.passes import Operation, Pass, product

Tensor = Any


def _conv2d(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x = inputs[0].astype(state.products)
    kernel = state.own(node, "weight")[0].astype(state.products)
    padding, stride, groups = node.size("padding"), node.size("stride"), node.size("groups")
    if groups == kernel.shape[0] == node.size("in_channels") > 1:
        # A convolution of one channel with one is a sum of shifted products, which XLA makes a
        # single loop of; its own is an order of magnitude slower on a CPU.
        parts = _shifted(x, node, 0.0)
        weights = kernel.reshape(groups, -1).T
        y = sum(part * weight for part, weight in zip(parts, weights, strict=True))
    else:
        y = lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            ((padding, padding), (padding, padding)),
            dimension_numbers=("NHWC", "OIHW", "NHWC"),
            feature_group_count=groups,
        )
    return _biased(node, y, state)


def _shifted(x: Tensor, node: Node, fill: float) -> list[Tensor]:
    """Return, for each place of a node's window row by row, what is there: [b, H', W', C] each."""
    kernel, stride, padding = node.size("kernel"), node.size("stride"), node.size("padding")
    if padding:
        sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        x = jnp.pad(x, sides, constant_values=fill)
    height, width = (stride * ((size - kernel) // stride) + 1 for size in x.shape[1:3])
    return [
        x[:, i : i + height : stride, j : j + width : stride]
        for i in range(kernel)
        for j in range(kernel)
    ]


def _linear(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    (weight,) = state.own(node, "weight")
    transposed = bool(node.attributes.get("transposed", 0))
    return _biased(node, product(inputs[0], weight, state, transposed=transposed), state)


def _biased(node: Node, x: Tensor, state: Pass) -> Tensor:
    if node.name in state.folded:
        return x + state.folded[node.name].astype(x.dtype)
    return x + state.own(node, "bias")[0].astype(x.dtype) if node.size("bias") else x


def _batch_norm(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    if node.inputs[0] in state.folded:
        return inputs[0]
    scale, offset, mean, variance = state.own(node, "weight", "bias", "running_mean", "running_var")
    x = inputs[0].astype(scale.dtype)
    if state.training and node.name not in state.frozen:
        new_mean, new_variance, count = _moments(x, state.real)
        share = node.attributes["momentum"]
        unbiased = new_variance * (count / jnp.maximum(count - 1, 1))
        for leaf, old, new in (
            ("running_mean", mean, new_mean),
            ("running_var", variance, unbiased),
        ):
            state.statistics[f"{node.name}.{leaf}"] = (1.0 - share) * old + share * new
        mean, variance = new_mean, new_variance
    factor = scale / jnp.sqrt(variance + node.attributes["eps"])
    return (x - mean) * factor + offset


def _moments(x: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, biased variance and number of values of each channel over the real rows."""
    axes = tuple(range(x.ndim - 1))
    if real is None:
        mean = x.mean(axes)
        return mean, jnp.square(x - mean).mean(axes), jnp.asarray(x.size / x.shape[-1], x.dtype)
    mask = real.reshape(-1, *(1 for _ in axes))
    count = (real.sum() * (x[0].size // x.shape[-1])).astype(x.dtype)
    mean = jnp.where(mask, x, 0).sum(axes) / count
    return mean, jnp.where(mask, jnp.square(x - mean), 0).sum(axes) / count, count


def _relu6(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x = inputs[0]
    return jnp.where((x > 0) & (x < 6), x, lax.stop_gradient(jnp.clip(x, 0, 6)))


def _max_pool2d(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    # The gradient goes to the first of equal values. XLA's own pooling is five times slower on a
    # CPU, there and back.
    first, *others = _shifted(inputs[0], node, -jnp.inf)
    for other in others:
        first = jnp.where(first >= other, first, other)
    return first


def _adaptive_avg_pool2d(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x, size = inputs[0], node.size("size")
    if x.shape[1:3] == (size, size):
        return x
    rows, columns = (jnp.asarray(bins(n, size), x.dtype) for n in x.shape[1:3])
    # Bins are products of rows and columns: two small matrix products, whatever they overlap.
    return jnp.einsum("hi,bijc,wj->bhwc", rows, x, columns)


def _flatten(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x = inputs[0]
    return (x.transpose(0, 3, 1, 2) if x.ndim == 4 else x).reshape(x.shape[0], -1)


def _class_token(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    token = state.tensors[node.name]
    x = inputs[0].astype(token.dtype)
    return jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, x.shape[-1])), x], 1)


def _layer_norm(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    scale, offset = state.own(node, "weight", "bias")
    x = inputs[0].astype(scale.dtype)
    x = x - x.mean(-1, keepdims=True)
    variance = jnp.square(x).mean(-1, keepdims=True)
    return x / jnp.sqrt(variance + node.attributes["eps"]) * scale + offset


def _gelu(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x = inputs[0]
    if node.size("tanh"):
        return 0.5 * x * (1.0 + jnp.tanh(sqrt(2 / pi) * (x + 0.044715 * (x * x * x))))
    return 0.5 * x * (1.0 + lax.erf(x * sqrt(0.5)))


def _attention(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    weight, bias, out_weight, out_bias = state.own(
        node, "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"
    )
    x = product(inputs[0], weight, state)
    queries, keys, values = jnp.split(x + bias.astype(x.dtype), 3, axis=-1)
    x = product(texts.attend(node, queries, keys, values, None, state), out_weight, state)
    return x + out_bias.astype(x.dtype)


def _dropout(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x = inputs[0]
    # Of a text, values are counted over the tokens that the batch has.
    shape = (x.shape[3], *x.shape[1:3]) if x.ndim == 4 else x.shape[1:]
    return dropped(node, x, shape, node.attributes["p"], state)


def _stochastic_depth(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    ones = (1,) * (inputs[0].ndim - 1)
    return dropped(node, inputs[0], ones, node.attributes["p"], state)


OPERATIONS: dict[str, Operation] = {
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "linear": _linear,
    "relu": lambda node, inputs, state: jax.nn.relu(inputs[0]),
    "relu6": _relu6,
    "tanh": lambda node, inputs, state: jnp.tanh(inputs[0]),
    "max_pool2d": _max_pool2d,
    "global_avg_pool": lambda node, inputs, state: inputs[0].mean((1, 2)),
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "flatten": _flatten,
    # Two precisions add up in the higher one.
    "add": lambda node, inputs, state: inputs[0] + inputs[1],
    "tokens": lambda node, inputs, state: inputs[0].reshape(inputs[0].shape[0], *node.shape),
    "class_token": _class_token,
    "position_embedding": lambda n, inputs, state: inputs[0] + state.own(n, "pos_embedding")[0],
    "first_token": lambda node, inputs, state: inputs[0][:, 0],
    "layer_norm": _layer_norm,
    "gelu": _gelu,
    "attention": _attention,
    "dropout": _dropout,
    "stochastic_depth": _stochastic_depth,
    **texts.OPERATIONS,
}


def run(network: Network, x: Tensor, positions: Tensor | None, state: Pass) -> Mapping[str, Tensor]:
    """Return every node's output by name.

    Args:
        network: whose nodes are executed.
        x: inputs [b, H, W, C], [b, features], or token numbers [b, T] or [b, T, 2].
        positions: int [b, M], what a masked language model predicts; None for everything.
        state: the pass.
    """
    values: dict[str, Tensor] = {INPUT: x, TARGETS: positions}
    for node in network.nodes:
        inputs = [values[name] for name in node.inputs]
        values[node.name] = OPERATIONS[node.op](node, inputs, state)
    del values[INPUT], values[TARGETS]
    return values
