"""The operations on texts, inside the graph: token numbers [b, T] or [b, T, 2], vectors [b, T, w].

Padding is always behind a text, so causal attention needs no mask for it: no token looks behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from paribus.architectures import Node
from paribus.backends.tensorflow.passes import Operation, Pass, product

Tensor = Any


def numbers(tokens: Tensor) -> Tensor:
    """Return the token numbers [b, T], −1 past the end, without the segments."""
    return tokens[..., 0] if tokens.shape.rank == 3 else tokens


def at_positions(x: Tensor, positions: Tensor) -> Tensor:
    """Return the vectors [b, M, width] of ``x`` [b, T, width] at ``positions`` [b, M]."""
    return tf.gather(x, positions, axis=1, batch_dims=1)


def _token_embedding(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    return tf.gather(state.tensors[f"{node.name}.weight"], tf.maximum(numbers(inputs[0]), 0))


def _segment_embedding(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x, tokens = inputs
    table = state.tensors[f"{node.name}.weight"]
    return x + (tf.gather(table, tokens[..., 1]) if tokens.shape.rank == 3 else table[0])


def _token_positions(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x = inputs[0]
    return x + state.tensors[f"{node.name}.weight"][: x.shape[1]]


def _dot_product_attention(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    *parts, tokens = inputs
    heads, width, length = node.size("heads"), node.size("width"), tokens.shape[1]
    each = width // heads
    if len(parts) == 1:
        parts = tf.split(parts[0], 3, axis=2)
    queries, keys, values = (
        tf.transpose(tf.reshape(part, (-1, length, heads, each)), (0, 2, 1, 3)) for part in parts
    )
    scores = tf.cast(tf.matmul(queries * each**-0.5, keys, transpose_b=True), state.dtype)
    if node.size("causal"):
        seen = tf.range(length)[:, None] >= tf.range(length)[None]
    else:
        seen = (numbers(tokens) >= 0)[:, None, None]
    # Added and not chosen, which has a derivative of its own; beside this no score is more than 0.
    shares = tf.nn.softmax(scores + tf.where(seen, tf.zeros((), scores.dtype), scores.dtype.min))
    shares = state.drop(node, shares, node.attributes.get("dropout", 0.0))
    x = tf.matmul(tf.cast(shares, values.dtype), values)
    return tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (-1, length, width))


def _mean_tokens(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x, tokens = inputs
    real = tf.cast(numbers(tokens) >= 0, x.dtype)[..., None]
    return tf.reduce_sum(x * real, 1) / tf.reduce_sum(real, 1)


def _last_token(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x, tokens = inputs
    last = tf.reduce_sum(tf.cast(numbers(tokens) >= 0, tf.int64), 1) - 1
    return at_positions(x, last[:, None])[:, 0]


def _predicted_tokens(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x, positions = inputs
    return x if positions is None else at_positions(x, positions)


def _shared_linear(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x = product(inputs[0], state.tensors[node.shares], state.products, transposed=True)
    # Kept as a table of one row, which is how Keras has it.
    return x + tf.cast(state.tensors[f"{node.name}.bias"], x.dtype) if node.size("bias") else x


OPERATIONS: Mapping[str, Operation] = {
    "token_embedding": _token_embedding,
    "segment_embedding": _segment_embedding,
    "token_positions": _token_positions,
    "dot_product_attention": _dot_product_attention,
    "mean_tokens": _mean_tokens,
    "last_token": _last_token,
    "predicted_tokens": _predicted_tokens,
    "shared_linear": _shared_linear,
}
