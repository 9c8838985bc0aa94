"""The operations on sequences of tokens as stock Keras layers.

Keras has no layer for one learned vector, but an ``Embedding`` that is always asked for the same
rows is one. Attention is two ``Dense`` layers with Keras's own operations between them: published
weights have queries, keys and values in one matrix, which ``MultiHeadAttention`` would cut up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from paribus.architectures import Node

Named = Callable[..., dict[str, Any]]  # suffix → the name and dtype of a layer of the node
Layer = Callable[[Node, list[Any], Named], Any]


def _class_token(node: Node, inputs: list[Any], named: Named) -> Any:
    x = inputs[0]
    table = layers.Embedding(1, node.shape[1], embeddings_initializer="zeros", **named())
    token = table(keras.ops.zeros_like(x[:, :1, 0]))
    return layers.Concatenate(axis=1, **named("_concatenated"))([token, x])


def _position_embedding(node: Node, inputs: list[Any], named: Named) -> Any:
    x = inputs[0]
    table = layers.Embedding(*node.shape, embeddings_initializer="zeros", **named())
    places = keras.ops.cumsum(keras.ops.ones_like(x[:, :, 0]), axis=1) - 1
    return layers.Add(**named("_added"))([x, table(places)])


def _layer_norm(node: Node, inputs: list[Any], named: Named) -> Any:
    return layers.LayerNormalization(epsilon=node.attributes["eps"], **named())(inputs[0])


def _gelu(node: Node, inputs: list[Any], named: Named) -> Any:
    # In float64 this is 1e-8 off: TensorFlow's own rounds a constant to single precision.
    return keras.ops.gelu(inputs[0], approximate=bool(node.size("tanh")))


def dropped(node: Node, shares: Any, named: Named) -> Any:
    """Return attention's shares behind the dropout of a node that has it."""
    p = node.attributes.get("dropout", 0.0)
    return layers.Dropout(p, **named("_dropout"))(shares) if p else shares


def _attention(node: Node, inputs: list[Any], named: Named) -> Any:
    (tokens, width), heads = node.shape, node.size("heads")
    x = layers.Dense(3 * width, kernel_initializer="zeros", **named("_in_proj"))(inputs[0])
    x = layers.Reshape((tokens, 3, heads, width // heads), **named("_cut"))(x)
    x = layers.Permute((2, 3, 1, 4), **named("_heads_first"))(x)
    queries, keys, values = (x[:, part] for part in range(3))
    queries = layers.Rescaling((width // heads) ** -0.5, **named("_scaled"))(queries)
    scores = keras.ops.matmul(queries, keras.ops.transpose(keys, (0, 1, 3, 2)))
    shares = layers.Softmax(**named("_shares"))(scores)
    shares = dropped(node, shares, named)
    x = layers.Permute((2, 1, 3), **named("_tokens_first"))(keras.ops.matmul(shares, values))
    x = layers.Reshape((tokens, width), **named("_joined"))(x)
    return layers.Dense(width, kernel_initializer="zeros", **named("_out_proj"))(x)


LAYERS: dict[str, Layer] = {
    "tokens": lambda node, inputs, named: layers.Reshape(node.shape, **named())(inputs[0]),
    "class_token": _class_token,
    "position_embedding": _position_embedding,
    "first_token": lambda node, inputs, named: inputs[0][:, 0],
    "layer_norm": _layer_norm,
    "gelu": _gelu,
    "attention": _attention,
}
