"""From stored examples and a plan's rows to network inputs and labels, inside a function."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from paribus.architectures import Objective
from paribus.backends.jax.plans import Data, Reading, Rows
from paribus.plan import center

Tensor = Any


def inputs(data: Data, rows: Rows, reading: Reading, dtype: Any) -> Tensor:
    """Return network inputs [b, H, W, C], [b, features], or token numbers [b, T] or [b, T, 2]."""
    if reading.length is not None:
        if rows.targets is not None:
            return rows.targets.tokens
        return data.x[rows.indices, : reading.length]
    if reading.crop is None:
        x = data.x[rows.indices].astype(dtype)
    else:
        x = _window(data.x, rows, reading.crop, dtype)
    return x * data.factors[0] - data.factors[1]


def labels(
    data: Data, rows: Rows, reading: Reading, objective: Objective
) -> tuple[Tensor, Tensor | None]:
    """Return labels, and which predictions count where not all do; see ``losses``."""
    if rows.targets is not None:
        return rows.targets.labels, rows.targets.counted
    if objective == "causal_lm":
        assert reading.length is not None
        return data.x[rows.indices, 1 : reading.length + 1], None
    assert data.y is not None
    return data.y[rows.indices], None


def _window(x: Tensor, rows: Rows, crop: tuple[int, int], dtype: Any) -> Tensor:
    """Return windows [b, height, width, C] of stored images, flipped, 0 outside of the image."""
    if rows.draws is None:
        top, left = (jnp.full(rows.indices.shape, at) for at in center(x.shape[1:3], crop))
        vertical = horizontal = jnp.zeros(rows.indices.shape, jnp.bool_)
    else:
        top, left, horizontal, vertical = rows.draws
    i, inside_i = _places(top, vertical, crop[0], x.shape[1])
    j, inside_j = _places(left, horizontal, crop[1], x.shape[2])
    found = x[rows.indices[:, None, None], i[:, :, None], j[:, None, :]].astype(dtype)
    inside = inside_i[:, :, None] & inside_j[:, None, :]
    return jnp.where(inside[..., None], found, 0)


def _places(start: Tensor, flip: Tensor, size: int, stored: int) -> tuple[Tensor, Tensor]:
    """Return ``size`` places [b, size] from ``start`` on, in reverse where flipped.

    They are clipped to the image; the second array says which lie inside of it.
    """
    offsets = jnp.arange(size)
    places = start[:, None] + jnp.where(flip[:, None], size - 1 - offsets, offsets)
    return jnp.clip(places, 0, stored - 1), (places >= 0) & (places < stored)
