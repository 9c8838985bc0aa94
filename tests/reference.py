"""A network in float64 NumPy, written from the definitions: what every backend must agree with.

It is slow and obvious on purpose. It shares no line with an adapter: convolution is a tensor
product of windows, the mean and variance of BatchNorm are NumPy's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from paribus.architectures import INPUT, Network, Node
from paribus.plan import Augmentation, Preprocess, center

Array = npt.NDArray[Any]


def forward(
    network: Network,
    tensors: Mapping[str, Array],
    x: Array,
    *,
    training: bool = False,
    frozen: Collection[str] = (),
) -> tuple[Array, dict[str, Array]]:
    """Return logits [n, C] and the statistics that a training pass leaves.

    ``x`` is [n, C, H, W] or [n, features], already preprocessed; ``frozen`` are the names of
    BatchNorm nodes that run in evaluation mode whatever ``training`` says.
    """
    values: dict[str, Array] = {INPUT: np.asarray(x, dtype=np.float64)}
    statistics = {n: tensors[n] for n, t in network.tensors.items() if t.kind == "statistic"}
    for node in network.nodes:
        inputs = [values[name] for name in node.inputs]
        if node.op == "batch_norm":
            live = training and node.name not in frozen
            values[node.name] = _batch_norm(node, tensors, inputs[0], live, statistics)
        else:
            values[node.name] = OPERATIONS[node.op](node, tensors, *inputs)
    return values[network.nodes[-1].name], statistics


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Return each row's loss [n], natural logarithm."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1))
    return np.asarray(total - shifted[np.arange(len(labels)), labels])


def preprocess(
    x: Array, rule: Preprocess, augmentation: Augmentation | None = None, at: tuple[int, ...] = ()
) -> Array:
    """Return network inputs of stored rows ``x``: cropped, flipped, scaled, channels first.

    ``at`` is the place of the rows in the augmentation's arrays, such as (step, shard).
    """
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
    outputs = [
        np.tensordot(part, kernels, axes=([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2)
        for part, kernels in zip(
            np.split(_windows(node, x, 0.0), groups, axis=1),
            np.split(weight, groups),
            strict=True,
        )
    ]
    out = np.concatenate(outputs, axis=1)
    return out + tensors[f"{node.name}.bias"][:, None, None] if node.size("bias") else out


def _linear(node: Node, tensors: Mapping[str, Array], x: Array) -> Array:
    out = x @ tensors[f"{node.name}.weight"].T
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


OPERATIONS: Mapping[str, Any] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "relu": lambda node, tensors, x: np.maximum(x, 0.0),
    "tanh": lambda node, tensors, x: np.tanh(x),
    "max_pool2d": lambda node, tensors, x: _windows(node, x, -np.inf).max(axis=(4, 5)),
    "global_avg_pool": lambda node, tensors, x: x.mean(axis=(2, 3)),
    "flatten": lambda node, tensors, x: x.reshape(len(x), -1),
    "add": lambda node, tensors, x, y: x + y,
}
