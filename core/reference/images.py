"""Operations on images and tables: one of a node, its tensors and its inputs each."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from paribus.architectures import Node

Array = npt.NDArray[Any]


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


def batch_norm(
    node: Node,
    tensors: Mapping[str, Array],
    x: Array,
    live: bool,
    statistics: dict[str, Array],
) -> Array:
    """Return the normalised values; what training leaves goes into ``statistics``."""
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
    "relu": lambda node, tensors, x: np.maximum(x, 0.0),
    "relu6": lambda node, tensors, x: np.clip(x, 0.0, 6.0),
    "tanh": lambda node, tensors, x: np.tanh(x),
    "max_pool2d": lambda node, tensors, x: _windows(node, x, -np.inf).max(axis=(4, 5)),
    "global_avg_pool": lambda node, tensors, x: x.mean(axis=(2, 3)),
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "flatten": lambda node, tensors, x: x.reshape(len(x), -1),
    "linear": _linear,
    "add": lambda node, tensors, x, y: x + y,
}
