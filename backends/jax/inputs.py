"""From stored examples and a plan's rows to network inputs and labels, inside a compiled function.

A plan's arrays become one tree of arrays. What it does not ask for is None in the tree, hence no
part of what is compiled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from paribus.architectures import Objective
from paribus.plan import Augmentation, EvalPlan, TrainPlan, center
from paribus.plan import Targets as PlanTargets

Tensor = Any


class Data(NamedTuple):
    """Examples on the device as they were put, and a plan's scale and shift [2, channels]."""

    x: Tensor
    y: Tensor | None
    factors: Tensor


class Draws(NamedTuple):
    """As ``paribus.plan.Augmentation``."""

    top: Tensor
    left: Tensor
    flip_horizontal: Tensor
    flip_vertical: Tensor


class Targets(NamedTuple):
    """As ``paribus.plan.Targets``, with ``counted`` bool [b, M] for its counts."""

    tokens: Tensor
    positions: Tensor
    labels: Tensor
    counted: Tensor


class Rows(NamedTuple):
    """A shard's rows, or with leading axes those of many.

    Attributes:
        indices: int64 [b].
        count: real rows; first: the first one's place in the step's batch.
        weights: [b]; None in evaluation.
        draws, targets: None where the plan has none.
    """

    indices: Tensor
    count: Tensor
    first: Tensor
    weights: Tensor | None = None
    draws: Draws | None = None
    targets: Targets | None = None


class Step(NamedTuple):
    """One optimizer step, or with a leading axis K of them.

    Attributes:
        shards: with a leading axis S.
        scalars: by name.
        keys: int32 [L, 2], of the network's noisy nodes; None where nothing is dropped.
    """

    shards: Rows
    scalars: dict[str, Tensor]
    keys: Tensor | None


class Reading(NamedTuple):
    """The decisions that are compiled in.

    Attributes:
        crop: (height, width) of a window; None for the whole image, tables and texts.
        length: tokens of a text that are read; None for images and tables.
        padded: whether some rows are padding.
    """

    crop: tuple[int, int] | None
    length: int | None
    padded: bool


def steps_of(plan: TrainPlan, names: tuple[str, ...], dtype: np.dtype[Any], images: bool) -> Step:
    """Return a plan's arrays, with the leading axis K; ``names`` are those of its scalars."""
    # Rows are counted without the padding of the shards before.
    first = np.cumsum(plan.counts, axis=1) - plan.counts
    rows = Rows(
        plan.indices,
        plan.counts,
        first,
        plan.weights.astype(dtype),
        _draws(plan.augmentation) if images else None,
        _targets(plan.targets),
    )
    scalars = {name: plan.scalars[name].astype(dtype) for name in names}
    return Step(rows, scalars, plan.noise)


def rows_of(plan: EvalPlan) -> Rows:
    """Return a plan's arrays, with the leading axis M."""
    return Rows(
        plan.indices, plan.counts, np.zeros_like(plan.counts), targets=_targets(plan.targets)
    )


def _draws(given: Augmentation | None) -> Draws | None:
    return None if given is None else Draws(*(getattr(given, name) for name in Draws._fields))


def _targets(given: PlanTargets | None) -> Targets | None:
    if given is None:
        return None
    counted = np.arange(given.labels.shape[-1]) < given.counts[..., None]
    return Targets(given.tokens, given.positions, given.labels, counted)


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
