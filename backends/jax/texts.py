"""The operations on texts: token numbers [b, T] or [b, T, 2], vectors [b, T, width].

Padding is always behind a text, so causal attention needs no mask for it: no token looks behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from paribus.architectures import Node
from paribus.backends.jax.noise import dropped
from paribus.backends.jax.passes import Operation, Pass, product

Tensor = Any


def numbers(tokens: Tensor) -> Tensor:
    """Return the token numbers [b, T], −1 past the end, without the segments."""
    return tokens[..., 0] if tokens.ndim == 3 else tokens


def attend(
    node: Node, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None, state: Pass
) -> Tensor:
    """Return what each head attends to, side by side: [b, T, width].

    Args:
        node: with ``heads``, and ``dropout`` where shares are dropped.
        queries, keys, values: [b, T, width].
        seen: bool, broadcast to [b, heads, T, T]: the tokens that may be looked at; None for all.
        state: the pass.
    """
    heads, (b, length, width) = node.size("heads"), queries.shape

    def cut(x: Tensor) -> Tensor:
        return x.reshape(b, length, heads, width // heads).transpose(0, 2, 1, 3)

    scores = cut(queries * (width // heads) ** -0.5) @ cut(keys).swapaxes(2, 3)
    # Shares that add up to 1 are taken in the parameters' precision.
    scores = scores.astype(state.dtype)
    if seen is not None:
        scores = jnp.where(seen, scores, jnp.finfo(scores.dtype).min)
    shares = jax.nn.softmax(scores)
    probability = node.attributes.get("dropout", 0.0)
    if probability > 0:
        shares = dropped(node, shares, (heads, length, length), probability, state)
    found = shares.astype(values.dtype) @ cut(values)
    return found.transpose(0, 2, 1, 3).reshape(b, length, width)


def _token_embedding(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    (table,) = state.own(node, "weight")
    return table[jnp.maximum(numbers(inputs[0]), 0)]


def _segment_embedding(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x, tokens = inputs
    (table,) = state.own(node, "weight")
    return x + (table[tokens[..., 1]] if tokens.ndim == 3 else table[0])


def _token_positions(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    (table,) = state.own(node, "weight")
    return inputs[0] + table[: inputs[0].shape[1]]


def _dot_product_attention(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    *parts, tokens = inputs
    queries, keys, values = parts if len(parts) == 3 else jnp.split(parts[0], 3, axis=-1)
    if node.size("causal"):
        places = jnp.arange(tokens.shape[1])
        seen = places[:, None] >= places
    else:
        seen = (numbers(tokens) >= 0)[:, None, None]
    return attend(node, queries, keys, values, seen, state)


def _mean_tokens(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x, tokens = inputs
    real = (numbers(tokens) >= 0).astype(x.dtype)[..., None]
    return (x * real).sum(1) / real.sum(1)


def _last_token(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x, tokens = inputs
    last = (numbers(tokens) >= 0).sum(1) - 1
    return _at(x, last[:, None])[:, 0]


def _predicted_tokens(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x, positions = inputs
    return x if positions is None else _at(x, positions)


def _at(x: Tensor, positions: Tensor) -> Tensor:
    """Return the vectors [b, M, width] of ``x`` [b, T, width] at ``positions`` [b, M]."""
    return jnp.take_along_axis(x, positions[..., None], axis=1)


def _shared_linear(node: Node, inputs: list[Tensor], state: Pass) -> Tensor:
    x = product(inputs[0], state.tensors[node.shares], state)
    return x + state.own(node, "bias")[0].astype(x.dtype) if node.size("bias") else x


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
