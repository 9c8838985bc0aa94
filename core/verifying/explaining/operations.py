"""What an operation may compute instead of its definition, its tensors being read as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
from scipy.special import expit

from paribus.adapter import Array
from paribus.verifying.explaining.places import Compute, Place


def _same(size: int, kernel: int, stride: int) -> int:
    """Return all the padding of ``same``: as many outputs as ⌈size / stride⌉."""
    return max((-(-size // stride) - 1) * stride + kernel - size, 0)


def _windowed(place: Place) -> Iterator[tuple[str, Compute]]:
    node = place.node
    kernel, stride, padding = node.size("kernel"), node.size("stride"), node.size("padding")
    fill = -np.inf if node.op == "max_pool2d" else 0.0
    bare = place.having(padding=0)

    def padded(sides: Callable[[int], tuple[int, int]], value: float) -> Compute:
        def compute(inputs: Sequence[Any]) -> Array:
            x = inputs[0]
            around = ((0, 0), (0, 0), sides(x.shape[2]), sides(x.shape[3]))
            return bare([np.pad(x, around, constant_values=value)])

        return compute

    def behind(size: int) -> tuple[int, int]:
        total = _same(size, kernel, stride)
        return total // 2, total - total // 2

    where = f"{node.name}: padding is"
    yield (
        f"{where} asymmetric ('same': the odd pixel at the end), not {padding} on each side",
        padded(behind, fill),
    )
    yield (
        f"{where} asymmetric (the odd pixel at the start), not {padding} on each side",
        padded(lambda size: behind(size)[::-1], fill),
    )
    if padding:
        yield (
            f"{where} {2 * padding} at the end and none at the start",
            padded(lambda size: (0, 2 * padding), fill),
        )
    if node.op == "max_pool2d" and padding:
        yield f"{where} with zeros, which can win", padded(lambda size: (padding, padding), 0.0)


def _batch_norm(place: Place) -> Iterator[tuple[str, Compute]]:
    name = place.node.name
    other = replace(place, training=not place.training).compute
    if place.training:
        yield f"{name} normalises with its running statistics in training mode", other
        yield f"{name} normalises with the unbiased variance n/(n−1)", _unbiased(place, (0, 2, 3))
    else:
        yield f"{name} normalises with the batch's statistics in evaluation mode", other
    squared = place.tensors[f"{name}.running_var"] ** 2
    if not place.training:
        yield (
            f"{name} takes its running variance for a standard deviation",
            place.given({f"{name}.running_var": squared}),
        )


def _layer_norm(place: Place) -> Iterator[tuple[str, Compute]]:
    yield (
        f"{place.node.name} normalises with the unbiased variance n/(n−1)",
        _unbiased(place, (-1,)),
    )

    def without_mean(inputs: Sequence[Any]) -> Array:
        x, name = inputs[0], place.node.name
        size = np.sqrt((x**2).mean(axis=-1, keepdims=True) + place.node.attributes["eps"])
        own = place.tensors
        return np.asarray(x / size * own[f"{name}.weight"] + own[f"{name}.bias"])

    yield f"{place.node.name} does not subtract the mean", without_mean


def _unbiased(place: Place, axes: tuple[int, ...]) -> Compute:
    """Return a norm with variance n/(n−1); that is another scale, and another share of epsilon."""

    def compute(inputs: Sequence[Any]) -> Array:
        x = np.asarray(inputs[0])
        over = tuple(axis for axis in axes if axis < x.ndim)
        count = x.size // x.var(axis=over).size
        mean = x.mean(axis=over, keepdims=True)
        variance = x.var(axis=over, keepdims=True) * count / max(count - 1, 1)
        normal = (x - mean) / np.sqrt(variance + place.node.attributes["eps"])
        shape = (-1, *(1,) * (x.ndim - 2)) if 0 in over else (-1,)
        weight, bias = (place.tensors[f"{place.node.name}.{leaf}"] for leaf in ("weight", "bias"))
        return np.asarray(normal * weight.reshape(shape) + bias.reshape(shape))

    return compute


def _gelu(place: Place) -> Iterator[tuple[str, Compute]]:
    name, tanh = place.node.name, bool(place.node.size("tanh"))
    forms = ("the error function", "the tanh approximation")
    yield (
        f"{name}: GELU uses {forms[not tanh]} where the definition has {forms[tanh]}",
        place.having(tanh=0.0 if tanh else 1.0),
    )
    yield (
        f"{name}: GELU is the sigmoid approximation x·σ(1.702·x)",
        lambda inputs: np.asarray(inputs[0] * expit(1.702 * inputs[0])),
    )


def _relu6(place: Place) -> Iterator[tuple[str, Compute]]:
    yield f"{place.node.name}: relu6 lacks its upper bound", lambda x: np.maximum(x[0], 0.0)


def _relu(place: Place) -> Iterator[tuple[str, Compute]]:
    yield f"{place.node.name}: relu is cut off at 6", lambda x: np.clip(x[0], 0.0, 6.0)


def _flatten(place: Place) -> Iterator[tuple[str, Compute]]:
    def compute(inputs: Sequence[Any]) -> Array:
        x = inputs[0]
        last = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x
        return np.asarray(last.reshape(len(x), -1))

    yield f"{place.node.name} flattens channels last, not (channels, height, width)", compute


def _attention(place: Place) -> Iterator[tuple[str, Compute]]:
    node, name = place.node, place.node.name
    width = node.size("width")
    factor = np.ones((3 * width, 1))
    factor[:width] = sqrt(width // node.size("heads"))
    weight, bias = place.tensors[f"{name}.in_proj_weight"], place.tensors[f"{name}.in_proj_bias"]
    yield (
        f"{name}: scores are not divided by √d",
        place.given(
            {f"{name}.in_proj_weight": weight * factor, f"{name}.in_proj_bias": bias * factor[:, 0]}
        ),
    )


def _dot_product(place: Place) -> Iterator[tuple[str, Compute]]:
    node, name = place.node, place.node.name
    causal = bool(node.size("causal"))

    def unscaled(inputs: Sequence[Any]) -> Array:
        *parts, tokens = inputs
        if len(parts) == 1:
            parts = np.split(parts[0], 3, axis=-1)
        factor = sqrt(parts[0].shape[-1] // node.size("heads"))
        return place.compute([parts[0] * factor, *parts[1:], tokens])

    yield f"{name}: scores are not divided by √d", unscaled
    yield (
        f"{name}: tokens {'see later ones' if causal else 'do not see later ones'}",
        place.having(causal=0.0 if causal else 1.0),
    )
    yield (
        f"{name}: padding is attended to",
        lambda inputs: place.compute([*inputs[:-1], np.maximum(inputs[-1], 0)]),
    )


def _positions(place: Place) -> Iterator[tuple[str, Compute]]:
    name = f"{place.node.name}.weight"
    table = place.tensors[name]
    for first in (1, 2):
        moved = np.roll(table, -first, axis=0)
        yield f"{name}: positions count from {first}, not from 0", place.given({name: moved})


OPERATIONS: Mapping[str, Callable[[Place], Iterator[tuple[str, Compute]]]] = {
    "conv2d": _windowed,
    "max_pool2d": _windowed,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "gelu": _gelu,
    "relu": _relu,
    "relu6": _relu6,
    "flatten": _flatten,
    "attention": _attention,
    "dot_product_attention": _dot_product,
    "token_positions": _positions,
}
