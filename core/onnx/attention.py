"""Scaled dot-product attention, of images' tokens and of texts'."""

from __future__ import annotations

import numpy as np

from paribus.onnx.graph import Graph

# Less than any score and finite: a share of exactly 0, unless no token at all is seen.
NEVER = float(np.finfo(np.float32).min)


def attend(
    graph: Graph,
    queries: str,
    keys: str,
    values: str,
    *,
    heads: int,
    width: int,
    seen: str | None = None,
) -> str:
    """Add softmax(q·kᵀ / √d)·v per head, and return the heads side by side.

    Args:
        graph: takes the operators.
        queries, keys, values: [batch, tokens, width].
        heads: how many; each has d = width / heads.
        width: of a token.
        seen: bool, broadcast to [batch, heads, queries, keys]: which keys count; None for all.
    """
    each = width // heads
    cut = graph.integers(0, 0, heads, each)

    def by_head(part: str, order: list[int]) -> str:
        return graph.add("Transpose", graph.add("Reshape", part, cut), perm=order)

    scaled = graph.add("Mul", by_head(queries, [0, 2, 1, 3]), graph.number(each**-0.5))
    scores = graph.add("MatMul", scaled, by_head(keys, [0, 2, 3, 1]))
    if seen is not None:
        scores = graph.add("Where", seen, scores, graph.number(NEVER))
    shares = graph.add("Softmax", scores, axis=-1)
    mixed = graph.add("MatMul", shares, by_head(values, [0, 2, 1, 3]))
    tokens_first = graph.add("Transpose", mixed, perm=[0, 2, 1, 3])
    return graph.add("Reshape", tokens_first, graph.integers(0, 0, width))
