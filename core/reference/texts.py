"""Operations on sequences, of image patches and of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from paribus.architectures import Node
from paribus.reference.dropping import Drop

Array = npt.NDArray[Any]


def _class_token(node: Node, tensors: Mapping[str, Array], x: Array) -> Array:
    return np.concatenate([np.repeat(tensors[node.name], len(x), axis=0), x], axis=1)


def _layer_norm(node: Node, tensors: Mapping[str, Array], x: Array) -> Array:
    centered = x - x.mean(axis=-1, keepdims=True)
    normal = centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + node.attributes["eps"])
    return np.asarray(normal * tensors[f"{node.name}.weight"] + tensors[f"{node.name}.bias"])


def _gelu(node: Node, tensors: Mapping[str, Array], x: Array) -> Array:
    if node.size("tanh"):
        return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))
    return np.asarray(x * ndtr(x))


def attention(node: Node, tensors: Mapping[str, Array], x: Array, *, drop: Drop) -> Array:
    """Return self-attention without mask, head by head."""
    own = {
        leaf: tensors[f"{node.name}.{leaf}"]
        for leaf in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    }
    projected = x @ own["in_proj_weight"].T + own["in_proj_bias"]
    queries, keys, values = np.split(projected, 3, axis=-1)
    width = node.size("width") // node.size("heads")
    shares = np.empty((len(x), node.size("heads"), x.shape[1], x.shape[1]))
    for head in range(node.size("heads")):
        part = slice(head * width, (head + 1) * width)
        scores = queries[..., part] @ keys[..., part].swapaxes(1, 2) / np.sqrt(width)
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares[:, head] = powers / powers.sum(axis=-1, keepdims=True)
    shares = drop(node, node.attributes.get("dropout", 0.0), shares)
    parts = np.split(values, node.size("heads"), axis=-1)
    joined = np.concatenate([shares[:, h] @ part for h, part in enumerate(parts)], axis=-1)
    return np.asarray(joined @ own["out_proj.weight"].T + own["out_proj.bias"])


def _numbers(tokens: Array) -> Array:
    return tokens[..., 0] if tokens.ndim == 3 else tokens


def dot_product_attention(
    node: Node, tensors: Mapping[str, Array], *inputs: Array, drop: Drop
) -> Array:
    """Return the heads side by side, one place of one head of one row at a time."""
    *parts, tokens = inputs
    queries, keys, values = parts if len(parts) == 3 else np.split(parts[0], 3, axis=-1)
    width = node.size("width") // node.size("heads")
    out = np.zeros_like(queries)
    count = queries.shape[1]
    # What a share is multiplied by, if it is dropped or kept.
    factors = np.ones((len(queries), node.size("heads"), count, count))
    factors = drop(node, node.attributes.get("dropout", 0.0), factors)
    for row, numbers in enumerate(_numbers(tokens)):
        for head in range(node.size("heads")):
            part = slice(head * width, (head + 1) * width)
            for place in range(len(numbers)):
                seen = place + 1 if node.size("causal") else int((numbers >= 0).sum())
                scores = keys[row, :seen, part] @ queries[row, place, part] / np.sqrt(width)
                powers = np.exp(scores - scores.max())
                shares = powers / powers.sum() * factors[row, head, place, :seen]
                out[row, place, part] = shares @ values[row, :seen, part]
    return out


def _token_embedding(node: Node, tensors: Mapping[str, Array], tokens: Array) -> Array:
    return tensors[f"{node.name}.weight"][np.maximum(_numbers(tokens), 0)]


def _segment_embedding(node: Node, tensors: Mapping[str, Array], x: Array, tokens: Array) -> Array:
    table = tensors[f"{node.name}.weight"]
    segments = tokens[..., 1] if tokens.ndim == 3 else np.zeros_like(tokens)
    return np.asarray(x + table[segments])


def _mean_tokens(node: Node, tensors: Mapping[str, Array], x: Array, tokens: Array) -> Array:
    lengths = (_numbers(tokens) >= 0).sum(axis=1)
    return np.stack([row[:length].mean(axis=0) for row, length in zip(x, lengths, strict=True)])


def _last_token(node: Node, tensors: Mapping[str, Array], x: Array, tokens: Array) -> Array:
    lengths = (_numbers(tokens) >= 0).sum(axis=1)
    return np.asarray(x[np.arange(len(x)), lengths - 1])


def _predicted(node: Node, tensors: Mapping[str, Array], x: Array, positions: Any) -> Array:
    return x if positions is None else np.asarray(np.take_along_axis(x, positions[..., None], 1))


OPERATIONS: Mapping[str, Any] = {
    "tokens": lambda node, tensors, x: x.reshape(*x.shape[:2], -1).swapaxes(1, 2),
    "class_token": _class_token,
    "position_embedding": lambda node, tensors, x: x + tensors[f"{node.name}.pos_embedding"],
    "first_token": lambda node, tensors, x: x[:, 0],
    "layer_norm": _layer_norm,
    "gelu": _gelu,
    "token_embedding": _token_embedding,
    "segment_embedding": _segment_embedding,
    "token_positions": lambda node, tensors, x: x + tensors[f"{node.name}.weight"][: x.shape[1]],
    "mean_tokens": _mean_tokens,
    "last_token": _last_token,
    "predicted_tokens": _predicted,
}
