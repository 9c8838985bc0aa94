"""From stored rows to network inputs: cropped, flipped, scaled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.plan import Augmentation, Preprocess, center

Array = npt.NDArray[Any]


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
