"""A plan's arrays on their way to compiled functions, and the decisions that are compiled in.

A plan becomes one tree of arrays. What it does not ask for is None in the tree, hence no part of
what is compiled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from paribus.architectures import Network
from paribus.plan import Augmentation, EvalPlan, Preprocess, TrainPlan
from paribus.plan import Targets as PlanTargets

Tensor = Any


class Handle(NamedTuple):
    """Examples on the device as they were put."""

    x: Tensor
    y: Tensor | None


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
    """Return a plan's arrays, with the leading axis K; ``names`` are those of scalars to take."""
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


def data_of(handle: Handle, preprocess: Preprocess, network: Network, dtype: Any) -> Data:
    """Return examples with a plan's scale and shift."""
    width = 1 if network.reads_tokens else handle.x.shape[-1]
    factors = [
        np.broadcast_to(np.asarray(values, dtype), width)
        for values in (preprocess.scale, preprocess.shift)
    ]
    return Data(handle.x, handle.y, np.stack(factors))


def reading_of(
    handle: Handle, preprocess: Preprocess, network: Network, *, drawn: bool, labelled: bool
) -> Reading:
    """Return the decisions for a plan without padding; ``drawn``: whether its windows are."""
    if network.reads_tokens:
        return Reading(None, length_of(handle, preprocess, network, labelled=labelled), False)
    if handle.x.ndim == 2:
        return Reading(None, None, False)
    stored = tuple(handle.x.shape[1:3])
    crop = preprocess.crop or stored
    return Reading(None if crop == stored and not drawn else crop, None, False)


def length_of(handle: Handle, preprocess: Preprocess, network: Network, *, labelled: bool) -> int:
    """Return how many tokens are read; what a causal language model predicts is one more."""
    causal = labelled and network.objective == "causal_lm"
    return preprocess.length or int(handle.x.shape[1]) - causal
