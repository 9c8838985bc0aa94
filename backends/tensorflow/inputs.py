"""From stored examples to network inputs, inside the graph.

What a plan does not ask for costs nothing: a ``Layout`` holds the decisions that are made while
tracing, and is part of the key under which a traced function is kept. Values (scale, shift, draws)
are arguments, so that other values run through the same graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from paribus.plan import Augmentation, EvalPlan, TrainPlan, center

Tensor = Any


@dataclass(frozen=True)
class Layout:
    """The steps of preprocessing that a graph contains.

    Attributes:
        crop: (height, width) of a window, None where the whole example is taken as it is.
        drawn: whether windows and flips are drawn, else the window is central.
        scaled: whether ``value · scale − shift`` differs from the value.
        tokens: how many of a text are read; None for images and tables.
        predicted: tokens of a text that are predicted at most; None where the plan has no targets.
        dropping: whether the plan has keys to drop by.
    """

    crop: tuple[int, int] | None
    drawn: bool
    scaled: bool
    tokens: int | None = None
    predicted: int | None = None
    dropping: bool = False

    @classmethod
    def of(cls, plan: TrainPlan | EvalPlan, stored: tuple[int, ...], texts: bool) -> Layout:
        """Return the layout for examples of shape ``stored`` (H, W, C), (features,), (tokens,)."""
        preprocess, augmentation = plan.preprocess, getattr(plan, "augmentation", None)
        dropping = getattr(plan, "noise", None) is not None
        if texts:
            targets = plan.targets
            tokens, predicted = preprocess.length or stored[0], None
            if targets is not None:
                tokens, predicted = targets.tokens.shape[-1], targets.labels.shape[-1]
            return cls(None, False, False, tokens, predicted, dropping)
        drawn, crop = augmentation is not None, preprocess.crop
        if len(stored) == 3:
            crop = crop or (stored[0], stored[1])
        if not drawn and crop == stored[:2]:
            crop = None
        scaled = any(s != 1.0 for s in preprocess.scale) or any(s != 0.0 for s in preprocess.shift)
        return cls(crop, drawn, scaled, dropping=dropping)


def draws_of(augmentation: Augmentation | None, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return (top, left, vertical, horizontal) as one array int64 [*shape, 4]; [*shape, 0] if none.

    One array crosses to the device instead of four; int64, because TensorFlow keeps int32 off
    a GPU.
    """
    if augmentation is None:
        return np.zeros((*shape, 0), dtype=np.int64)
    parts = (
        augmentation.top,
        augmentation.left,
        augmentation.flip_vertical,
        augmentation.flip_horizontal,
    )
    return np.stack([np.asarray(part, dtype=np.int64) for part in parts], axis=-1)


def prepare(x: Tensor, layout: Layout, draws: Tensor, factors: Tensor, dtype: Any) -> Tensor:
    """Return stored rows [n, …] as network inputs of ``dtype``.

    ``draws`` int64 [n, 4] or [n, 0]; ``factors`` [2, channels]: scale and shift.
    """
    if layout.tokens:
        return tf.cast(x[:, : layout.tokens], tf.int64)
    if layout.crop:
        height, width = layout.crop
        corner = center((x.shape[1], x.shape[2]), layout.crop)
        if not layout.drawn and min(corner) >= 0:
            x = x[:, corner[0] : corner[0] + height, corner[1] : corner[1] + width]
        else:
            if layout.drawn:
                top, left, vertical, horizontal = tf.unstack(draws, 4, axis=1)
            else:
                top, left = (
                    tf.fill((tf.shape(x)[0],), tf.constant(position, tf.int64))
                    for position in corner
                )
                vertical = horizontal = tf.zeros_like(top)
            x, rows = _take(x, 1, top, vertical, height)
            x, columns = _take(x, 2, left, horizontal, width)
            inside = rows[:, :, None, None] & columns[:, None, :, None]
            x = tf.where(inside, tf.cast(x, dtype), tf.zeros((), dtype))
    x = tf.cast(x, dtype)
    return x * factors[0] - factors[1] if layout.scaled else x


def _take(x: Tensor, axis: int, start: Tensor, flip: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Take ``size`` positions of an axis from ``start`` on, in reverse where ``flip`` is 1.

    Returns the positions, clipped to the image, and which of them [n, size] lie inside of it.
    """
    offsets = tf.range(size, dtype=tf.int64)[None]
    where = start[:, None] + tf.where(flip[:, None] == 1, size - 1 - offsets, offsets)
    last = x.shape[axis] - 1
    taken = tf.gather(x, tf.clip_by_value(where, 0, last), axis=axis, batch_dims=1)
    return taken, (where >= 0) & (where <= last)
