"""The operations on texts as stock Keras layers.

A model of texts has the inputs that transformers calls ``input_ids``, ``attention_mask`` and, where
the network knows segments, ``token_type_ids``, all int32 [n, tokens] of any length. Padding is
always behind a text, so causal attention needs no mask for it: no token looks behind.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import layers

from paribus.architectures import Network, Node
from paribus.backends.tensorflow.sequences import Layer, Named, dropped
from paribus.errors import Unsupported

# Less than any score, and finite in every precision.
NEVER = -1e9


class Text(NamedTuple):
    """The inputs of a network of texts; ``segments`` is None where it knows none."""

    numbers: Any
    real: Any
    segments: Any


def inputs(network: Network) -> Text:
    """Return the Keras inputs of a network of texts."""
    ops = {node.op for node in network.nodes}
    names = ["input_ids", "attention_mask", "token_type_ids"]
    found = [keras.Input((None,), dtype="int32", name=name) for name in names]
    return Text(found[0], found[1], found[2] if "segment_embedding" in ops else None)


def reads_mask(network: Network) -> bool:
    """Whether any node asks which tokens are real; a causal model of language does not."""
    asking = {"mean_tokens", "last_token"}
    return any(
        node.op in asking or (node.op == "dot_product_attention" and not node.size("causal"))
        for node in network.nodes
    )


def _places(numbers: Any) -> Any:
    """Return 0, 1, 2, … for each text: [n, tokens]."""
    return keras.ops.cumsum(keras.ops.ones_like(numbers), axis=1) - 1


def _token_embedding(node: Node, inputs: list[Any], named: Named) -> Any:
    sizes = node.size("vocabulary"), node.size("width")
    table = layers.Embedding(*sizes, embeddings_initializer="zeros", **named())
    return table(inputs[0].numbers)


def shared_table(node: Node, named: Named) -> Any:
    """Return the layer of a ``token_embedding`` whose table is read in both directions.

    Raises:
        Unsupported: this Keras has none.
    """
    if not hasattr(layers, "ReversibleEmbedding"):
        raise Unsupported(
            f"Keras {keras.__version__} has no layer whose weights are read in both directions, "
            "which a language model needs; pip install --upgrade keras"
        )
    sizes = node.size("vocabulary"), node.size("width")
    return layers.ReversibleEmbedding(*sizes, embeddings_initializer="zeros", **named())


def _segment_embedding(node: Node, inputs: list[Any], named: Named) -> Any:
    x, text = inputs
    sizes = node.size("segments"), node.size("width")
    table = layers.Embedding(*sizes, embeddings_initializer="zeros", **named())
    return layers.Add(**named("_added"))([x, table(text.segments)])


def _token_positions(node: Node, inputs: list[Any], named: Named) -> Any:
    x = inputs[0]
    sizes = node.size("positions"), node.size("width")
    table = layers.Embedding(*sizes, embeddings_initializer="zeros", **named())
    places = keras.ops.cast(_places(x[:, :, 0]), "int32")
    return layers.Add(**named("_added"))([x, table(places)])


def _dot_product_attention(node: Node, inputs: list[Any], named: Named) -> Any:
    *parts, text = inputs
    heads, width = node.size("heads"), node.size("width")
    each = width // heads
    if len(parts) == 1:
        x = parts[0]
        parts = [x[:, :, start : start + width] for start in range(0, 3 * width, width)]
    cut = []
    for part, name in zip(parts, ("queries", "keys", "values"), strict=True):
        x = layers.Reshape((-1, heads, each), **named(f"_{name}"))(part)
        cut.append(layers.Permute((2, 1, 3), **named(f"_{name}_by_head"))(x))
    queries, keys, values = cut
    queries = layers.Rescaling(each**-0.5, **named("_scaled"))(queries)
    scores = keras.ops.matmul(queries, keras.ops.transpose(keys, (0, 1, 3, 2)))
    if node.size("causal"):
        places = _places(text.numbers)
        seen = keras.ops.greater_equal(places[:, None, :, None], places[:, None, None, :])
    else:
        seen = keras.ops.greater(text.real, 0)[:, None, None, :]
    scores = keras.ops.where(seen, scores, NEVER)
    shares = dropped(node, layers.Softmax(**named("_shares"))(scores), named)
    x = layers.Permute((2, 1, 3), **named("_tokens_first"))(keras.ops.matmul(shares, values))
    return layers.Reshape((-1, width), **named("_joined"))(x)


def _mean_tokens(node: Node, inputs: list[Any], named: Named) -> Any:
    x, text = inputs
    real = keras.ops.expand_dims(keras.ops.cast(keras.ops.greater(text.real, 0), x.dtype), -1)
    return keras.ops.sum(x * real, axis=1) / keras.ops.sum(real, axis=1)


def _last_token(node: Node, inputs: list[Any], named: Named) -> Any:
    x, text = inputs
    real = keras.ops.cast(keras.ops.greater(text.real, 0), "int32")
    last = keras.ops.equal(_places(real), keras.ops.sum(real, axis=1, keepdims=True) - 1)
    chosen = keras.ops.expand_dims(keras.ops.cast(last, x.dtype), -1)
    return keras.ops.sum(x * chosen, axis=1)


def shared_linear(node: Node, inputs: list[Any], named: Named, table: Any) -> Any:
    """Return the product with another layer's table, and a bias where the node has one."""
    x = table(inputs[0], reverse=True)
    if not node.size("bias"):
        return x
    bias = layers.Embedding(1, node.size("vocabulary"), embeddings_initializer="zeros", **named())
    row = bias(keras.ops.cast(keras.ops.zeros_like(x[:, :1, 0]), "int32"))
    return layers.Add(**named("_added"))([x, row])


LAYERS: dict[str, Layer] = {
    "token_embedding": _token_embedding,
    "segment_embedding": _segment_embedding,
    "token_positions": _token_positions,
    "dot_product_attention": _dot_product_attention,
    "mean_tokens": _mean_tokens,
    "last_token": _last_token,
    "predicted_tokens": lambda node, inputs, named: inputs[0],
}
