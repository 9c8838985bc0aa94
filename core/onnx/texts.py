"""The operations on texts, and the inputs that users of transformers know by these names.

paribus' own token numbers are −1 past a text's end; in a file the attention mask says that instead.
Padding is behind a text, so causal attention needs no mask for it: no token looks behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from paribus.architectures import Node
from paribus.onnx.attention import attend
from paribus.onnx.graph import Graph

NUMBERS, MASK, SEGMENTS = "input_ids", "attention_mask", "token_type_ids"
INPUTS = (NUMBERS, MASK, SEGMENTS)

# Of TensorProto's types.
FLOAT, INT64, BOOL = 1, 7, 9


def _length(graph: Graph) -> str:
    """Return the number of tokens: int64 [1]."""
    return graph.shared("length", lambda: graph.add("Shape", NUMBERS, start=1, end=2))


def _real(graph: Graph) -> str:
    """Return which tokens are a text's: bool [batch, tokens]."""
    return graph.shared("real", lambda: graph.add("Cast", MASK, to=BOOL))


def _real_keys(graph: Graph) -> str:
    """Return the same for attention: bool [batch, 1, 1, tokens]."""
    axes = graph.integers(1, 2)
    return graph.shared("real_keys", lambda: graph.add("Unsqueeze", _real(graph), axes))


def _earlier_keys(graph: Graph) -> str:
    """Return which keys are not later than a query: bool [tokens, tokens]."""

    def make() -> str:
        first, step = (graph.constant(np.array(value, dtype=np.int64)) for value in (0, 1))
        end = graph.add("Squeeze", _length(graph), graph.integers(0))
        places = graph.add("Range", first, end, step)
        queries = graph.add("Unsqueeze", places, graph.integers(1))
        return graph.add("GreaterOrEqual", queries, places)

    return graph.shared("earlier_keys", make)


def _token_embedding(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    return graph.add("Gather", graph.weight(f"{node.name}.weight"), inputs[0], axis=0)


def _segment_embedding(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    rows = graph.add("Gather", graph.weight(f"{node.name}.weight"), SEGMENTS, axis=0)
    return graph.add("Add", inputs[0], rows)


def _token_positions(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    table, axis = graph.weight(f"{node.name}.weight"), graph.integers(0)
    return graph.add("Add", inputs[0], graph.add("Slice", table, axis, _length(graph), axis))


def _dot_product_attention(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    parts = inputs[:-1]
    if len(parts) == 1:
        parts = graph.add_many("Split", 3, parts[0], axis=2)
    seen = _earlier_keys(graph) if node.size("causal") else _real_keys(graph)
    return attend(graph, *parts, heads=node.size("heads"), width=node.size("width"), seen=seen)


def _mean_tokens(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    axes = graph.integers(1)
    shares = graph.add("Unsqueeze", graph.add("Cast", _real(graph), to=FLOAT), graph.integers(2))
    total = graph.add("ReduceSum", graph.add("Mul", inputs[0], shares), axes, keepdims=0)
    return graph.add("Div", total, graph.add("ReduceSum", shares, axes, keepdims=0))


def _last_token(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    ones = graph.add("Cast", _real(graph), to=INT64)
    count = graph.add("ReduceSum", ones, graph.integers(1), keepdims=1)
    return graph.add("GatherND", inputs[0], graph.add("Sub", count, graph.integers(1)),
                     batch_dims=1)  # fmt: skip


def _shared_linear(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    # The table is in the file once, for both directions; runtimes exchange its axes when they load.
    table = graph.add("Transpose", graph.weight(node.shares), perm=[1, 0])
    product = graph.add("MatMul", inputs[0], table)
    if not node.size("bias"):
        return product
    return graph.add("Add", product, graph.weight(f"{node.name}.bias"))


OPERATIONS: Mapping[str, Callable[[Node, Sequence[str], Graph], str]] = {
    "token_embedding": _token_embedding,
    "segment_embedding": _segment_embedding,
    "token_positions": _token_positions,
    "dot_product_attention": _dot_product_attention,
    "mean_tokens": _mean_tokens,
    "last_token": _last_token,
    "predicted_tokens": lambda node, inputs, graph: inputs[0],
    "shared_linear": _shared_linear,
}
