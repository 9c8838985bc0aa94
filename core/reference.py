"""A network in float64 NumPy, written from the definitions: what every backend must agree with.

It is slow and obvious on purpose. It shares no line with an adapter: convolution is a tensor
product of windows, the mean and variance of BatchNorm are NumPy's. Tests and the conformance suite
compare adapters with it, and ``verify`` asks it what one changed definition would have given.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil, floor
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import ndtr

from paribus import noise as definition
from paribus.architectures import INPUT, TARGETS, Network, Node
from paribus.noise import Keys
from paribus.plan import Augmentation, Preprocess, center

Array = npt.NDArray[Any]


def forward(
    network: Network,
    tensors: Mapping[str, Array],
    x: Array,
    *,
    training: bool = False,
    frozen: Collection[str] = (),
    positions: Array | None = None,
    noise: Keys | None = None,
    first_row: int = 0,
) -> tuple[Array, dict[str, Array]]:
    """Return outputs [n, C] (language models: [n, M, C]) and the statistics that training leaves.

    ``x`` is [n, C, H, W] or [n, features], already preprocessed, or token numbers; ``frozen`` are
    the names of BatchNorm nodes that run in evaluation mode whatever ``training`` says;
    ``positions`` [n, M] are what a masked language model predicts; ``noise`` int32 [L, 2] are the
    keys of a step, whose rows from ``first_row`` on ``x`` has: without them nothing is dropped.
    """
    values, statistics = trace(
        network, tensors, x, training=training, frozen=frozen, positions=positions, noise=noise,
        first_row=first_row,
    )  # fmt: skip
    return values[network.nodes[-1].name], statistics


def trace(
    network: Network,
    tensors: Mapping[str, Array],
    x: Array,
    *,
    training: bool = False,
    frozen: Collection[str] = (),
    positions: Array | None = None,
    noise: Keys | None = None,
    first_row: int = 0,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return every node's output by name, and statistics; arguments as of ``forward``."""
    dtype = np.int64 if network.reads_tokens else np.float64
    values: dict[str, Any] = {INPUT: np.asarray(x, dtype=dtype), TARGETS: positions}
    statistics = {n: tensors[n] for n, t in network.tensors.items() if t.kind == "statistic"}
    keys = {} if noise is None else dict(zip(network.noisy, noise, strict=True))
    drop = Drop(keys, range(first_row, first_row + len(x)))
    for node in network.nodes:
        inputs = [values[name] for name in node.inputs]
        live = training and node.name not in frozen
        values[node.name] = apply(node, tensors, inputs, live, statistics, drop)
    return values, statistics


def apply(
    node: Node,
    tensors: Mapping[str, Array],
    inputs: Sequence[Any],
    training: bool,
    statistics: dict[str, Array],
    drop: Drop | None = None,
) -> Array:
    """Return one node's output of its inputs; what training leaves goes into ``statistics``."""
    if node.op in DROPPING:
        nothing = drop or Drop({}, range(0))
        return np.asarray(DROPPING[node.op](node, tensors, *inputs, drop=nothing))
    if node.op == "batch_norm":
        return _batch_norm(node, tensors, inputs[0], training, statistics)
    if node.shares:
        bias = tensors[f"{node.name}.bias"] if node.size("bias") else 0.0
        return np.asarray(inputs[0] @ tensors[node.shares].T + bias)
    return np.asarray(OPERATIONS[node.op](node, tensors, *inputs))


class Drop:
    """What one step's keys by node drop of its ``rows``."""

    def __init__(self, keys: Mapping[str, Keys], rows: range) -> None:
        self._keys, self._rows = keys, rows

    def __call__(self, node: Node, probability: float, x: Array, whole: bool = False) -> Array:
        """Return ``x`` [n, …] without what is dropped: single values, or ``whole`` examples."""
        if node.name not in self._keys:
            return x
        size = 1 if whole else x[0].size
        kept = definition.kept(self._keys[node.name], self._rows, size, probability)
        shape = (len(x), *(1,) * (x.ndim - 1)) if whole else x.shape
        return np.asarray(x * kept.reshape(shape) * definition.scale(probability))


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Return each row's loss [n], natural logarithm."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1))
    return np.asarray(total - shifted[np.arange(len(labels)), labels])


def row_losses(
    network: Network,
    outputs: Array,
    labels: Array,
    counts: Array | None = None,
    smoothing: float = 0,
) -> Array:
    """Return each row's loss [n] by the network's objective; counts [n] of targets that count."""
    if network.objective == "regression":
        return np.asarray(((outputs - labels) ** 2).mean(axis=1))
    flat = cross_entropy(outputs.reshape(-1, outputs.shape[-1]), labels.reshape(-1))
    losses = flat.reshape(labels.shape)
    if network.objective == "classification":
        every = [cross_entropy(outputs, np.full(len(outputs), c)) for c in range(outputs.shape[1])]
        return np.asarray((1 - smoothing) * losses + smoothing * np.mean(every, axis=0))
    if counts is not None:
        losses = losses * (np.arange(labels.shape[1]) < counts[:, None])
    return np.asarray(losses.sum(axis=1))


def preprocess(
    x: Array, rule: Preprocess, augmentation: Augmentation | None = None, at: tuple[int, ...] = ()
) -> Array:
    """Return network inputs of stored rows ``x``: cropped, flipped, scaled, channels first.

    ``at`` is the place of the rows in the augmentation's arrays, such as (step, shard).
    """
    if x.dtype == np.int32:
        return x[:, : rule.length].astype(np.int64)
    x = np.asarray(x, dtype=np.float64)
    if x.ndim == 4 and rule.crop is not None:
        x = np.stack([_window(row, rule.crop, augmentation, (*at, i)) for i, row in enumerate(x)])
    x = x * np.array(rule.scale) - np.array(rule.shift)
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def _window(
    image: Array, crop: tuple[int, int], augmentation: Augmentation | None, at: tuple[int, ...]
) -> Array:
    height, width, channels = image.shape
    top, left = center((height, width), crop)
    if augmentation is not None:
        top, left = int(augmentation.top[at]), int(augmentation.left[at])
    out = np.zeros((*crop, channels))
    for i in range(crop[0]):
        for j in range(crop[1]):
            if 0 <= top + i < height and 0 <= left + j < width:
                out[i, j] = image[top + i, left + j]
    if augmentation is not None and augmentation.flip_vertical[at]:
        out = out[::-1]
    if augmentation is not None and augmentation.flip_horizontal[at]:
        out = out[:, ::-1]
    return out


def _windows(node: Node, x: Array, fill: float) -> Array:
    kernel, stride, padding = node.size("kernel"), node.size("stride"), node.size("padding")
    around = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    padded = np.pad(x, around, constant_values=fill)
    return sliding_window_view(padded, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]


def _conv2d(node: Node, tensors: Mapping[str, Array], x: Array) -> Array:
    weight, groups = tensors[f"{node.name}.weight"], node.size("groups")
    windows = _windows(node, x, 0.0)
    if groups == 1:
        out = np.tensordot(windows, weight, axes=([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2)
    else:
        n, channels, height, width, *kernel = windows.shape
        parts = windows.reshape(n, groups, channels // groups, height, width, *kernel)
        kernels = weight.reshape(groups, -1, *weight.shape[1:])
        out = np.einsum("ngchwij,gocij->ngohw", parts, kernels).reshape(n, -1, height, width)
    return np.asarray(
        out + tensors[f"{node.name}.bias"][:, None, None] if node.size("bias") else out
    )


def _adaptive_avg_pool2d(node: Node, tensors: Mapping[str, Array], x: Array) -> Array:
    size = node.size("size")

    def span(index: int, length: int) -> slice:
        return slice(floor(index * length / size), ceil((index + 1) * length / size))

    out = np.empty((*x.shape[:2], size, size))
    for i in range(size):
        for j in range(size):
            part = x[:, :, span(i, x.shape[2]), span(j, x.shape[3])]
            out[:, :, i, j] = part.mean(axis=(2, 3))
    return out


def _linear(node: Node, tensors: Mapping[str, Array], x: Array) -> Array:
    weight = tensors[f"{node.name}.weight"]
    out = x @ (weight if node.size("transposed") else weight.T)
    return np.asarray(out + tensors[f"{node.name}.bias"] if node.size("bias") else out)


def _batch_norm(
    node: Node,
    tensors: Mapping[str, Array],
    x: Array,
    live: bool,
    statistics: dict[str, Array],
) -> Array:
    column = (slice(None), *(None,) * (x.ndim - 2))
    axes = (0, *range(2, x.ndim))
    mean, variance = tensors[f"{node.name}.running_mean"], tensors[f"{node.name}.running_var"]
    if live:
        kept, share = 1.0 - node.attributes["momentum"], node.attributes["momentum"]
        count = x.size // x.shape[1]
        unbiased = x.var(axis=axes) * count / (count - 1)
        statistics[f"{node.name}.running_mean"] = kept * mean + share * x.mean(axis=axes)
        statistics[f"{node.name}.running_var"] = kept * variance + share * unbiased
        mean, variance = x.mean(axis=axes), x.var(axis=axes)
    normal = (x - mean[column]) / np.sqrt(variance + node.attributes["eps"])[column]
    weight, bias = tensors[f"{node.name}.weight"], tensors[f"{node.name}.bias"]
    return np.asarray(normal * weight[column] + bias[column])


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


def _dropout(node: Node, tensors: Mapping[str, Array], x: Array, *, drop: Drop) -> Array:
    return drop(node, node.attributes["p"], x, whole=node.op == "stochastic_depth")


def _attention(node: Node, tensors: Mapping[str, Array], x: Array, *, drop: Drop) -> Array:
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


def _dot_product_attention(
    node: Node, tensors: Mapping[str, Array], *inputs: Array, drop: Drop
) -> Array:
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
    "token_embedding": _token_embedding,
    "segment_embedding": _segment_embedding,
    "token_positions": lambda node, tensors, x: x + tensors[f"{node.name}.weight"][: x.shape[1]],
    "mean_tokens": _mean_tokens,
    "last_token": _last_token,
    "predicted_tokens": _predicted,
    "conv2d": _conv2d,
    "linear": _linear,
    "relu": lambda node, tensors, x: np.maximum(x, 0.0),
    "relu6": lambda node, tensors, x: np.clip(x, 0.0, 6.0),
    "tanh": lambda node, tensors, x: np.tanh(x),
    "max_pool2d": lambda node, tensors, x: _windows(node, x, -np.inf).max(axis=(4, 5)),
    "global_avg_pool": lambda node, tensors, x: x.mean(axis=(2, 3)),
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "flatten": lambda node, tensors, x: x.reshape(len(x), -1),
    "add": lambda node, tensors, x, y: x + y,
    "tokens": lambda node, tensors, x: x.reshape(*x.shape[:2], -1).swapaxes(1, 2),
    "class_token": _class_token,
    "position_embedding": lambda node, tensors, x: x + tensors[f"{node.name}.pos_embedding"],
    "first_token": lambda node, tensors, x: x[:, 0],
    "layer_norm": _layer_norm,
    "gelu": _gelu,
}
# Those that drop.
DROPPING: Mapping[str, Any] = {
    "dropout": _dropout,
    "stochastic_depth": _dropout,
    "attention": _attention,
    "dot_product_attention": _dot_product_attention,
}
