"""Normalisation as two numbers per channel, and an epoch's random crops and flips.

Only ``value · scale − shift`` crosses to the device, so every backend normalises with the same
float64 constants, which are computed here once. Crops and flips are drawn for a whole epoch by
position, from counters: the draws of any step exist without those of the steps before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from paribus import draws
from paribus.architectures.published import IMAGENET_MEAN, IMAGENET_STD
from paribus.data.dataset import Array, Dataset, Integers, crop_size
from paribus.data.streamed import Examples
from paribus.errors import SpecError
from paribus.plan import Augmentation, Preprocess

if TYPE_CHECKING:
    from paribus.spec.data import Transform

# Bounds the temporary float64 copies while statistics are taken.
_CHUNK_VALUES = 1 << 22

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

# Candidates and trials ask for the same rows again and again, and each time is a pass over them.
_known: WeakKeyDictionary[Dataset, dict[bytes, Statistics]] = WeakKeyDictionary()


def fit(dataset: Dataset, rows: Integers, transform: Transform) -> Preprocess:
    """Return the preprocessing of every example, fitted on the training rows.

    ``unit`` divides by ``value_range``. ``train`` subtracts the mean of a channel (of a feature
    for tables) over ``rows`` and divides by its population standard deviation; a constant channel
    is divided by 1 instead, so it becomes 0 everywhere. ``imagenet`` and an explicit mean and std
    are in units where 1.0 is ``value_range``.

    Raises:
        SpecError: the transform does not fit the examples (channels, crop size, tables).
    """
    if dataset.tokens is not None:
        return Preprocess(length=dataset.tokens.widths[-1])
    size = crop_size(transform, dataset.stored_size)
    cropped = size != dataset.stored_size or transform.pad > 0
    crop = size if cropped else None
    normalize = transform.normalize
    unit = dataset.value_range
    if normalize == "unit":
        return Preprocess((1.0 / unit,), (0.0,), crop)
    if normalize == "train":
        mean, std = _statistics(dataset, rows)
        return Preprocess(
            tuple(1.0 / s for s in std), tuple(m / s for m, s in zip(mean, std, strict=True)), crop
        )
    if normalize == "imagenet":
        if dataset.stored_size is None or dataset.channels != 3:
            what = "tables" if dataset.stored_size is None else f"{dataset.channels} channel(s)"
            raise SpecError(
                f"data.transform.normalize = 'imagenet' needs images of 3 channels; the data has "
                f"{what}. Set data.image.channels = 3, or use 'unit' or 'train'"
            )
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    else:
        mean, std = tuple(normalize.mean), tuple(normalize.std)
        if not len(mean) == len(std) == dataset.channels:
            kind = "features" if dataset.stored_size is None else "channels"
            raise SpecError(
                f"data.transform.normalize has {len(mean)} means and {len(std)} stds, but the "
                f"data has {dataset.channels} {kind}; give one of each per channel"
            )
    return Preprocess(
        tuple(1.0 / (unit * s) for s in std),
        tuple(m / s for m, s in zip(mean, std, strict=True)),
        crop,
    )


def _statistics(dataset: Dataset, rows: Integers) -> Statistics:
    known = _known.setdefault(dataset, {})
    key = hashlib.sha256(rows.tobytes()).digest()
    if key not in known:
        known[key] = statistics(dataset.x, rows)
    return known[key]


def statistics(x: Examples, rows: Integers) -> Statistics:
    """Return mean and population standard deviation over ``rows`` per last axis, in stored units.

    uint8 is summed exactly in integers; floats in float64, in two passes. A standard deviation of
    0 is returned as 1.
    """
    if len(rows) == 0:
        raise ValueError("statistics of no rows")
    count = len(rows) * int(np.prod(x.shape[1:-1], dtype=np.int64))
    if x.dtype == np.uint8:
        totals = np.zeros(x.shape[-1], dtype=np.int64)
        squares = np.zeros(x.shape[-1], dtype=np.int64)
        for part in _chunks(x, rows):
            # uint8² fits uint16; int64 sums hold 10¹⁴ pixels.
            totals += part.sum(axis=0, dtype=np.int64)
            squares += np.square(part, dtype=np.uint16).sum(axis=0, dtype=np.int64)
        pairs = [(int(t), int(s)) for t, s in zip(totals, squares, strict=True)]
        mean = [t / count for t, _ in pairs]
        variance = [(count * s - t * t) / count**2 for t, s in pairs]
    else:
        sums = np.zeros(x.shape[-1], dtype=np.float64)
        low, high = np.full_like(sums, np.inf), np.full_like(sums, -np.inf)
        for part in _chunks(x, rows):
            sums += part.sum(axis=0, dtype=np.float64)
            low, high = np.minimum(low, part.min(axis=0)), np.maximum(high, part.max(axis=0))
        # A constant's mean must be itself: a rounded one would leave a deviation of 1e-17.
        center = np.where(low == high, low, sums / count)
        spread = np.zeros_like(center)
        for part in _chunks(x, rows):
            spread += np.square(part.astype(np.float64) - center).sum(axis=0)
        mean, variance = center.tolist(), (spread / count).tolist()
    std = [float(np.sqrt(v)) for v in variance]
    return tuple(mean), tuple(s if s > 0 else 1.0 for s in std)


def augmentation(
    transform: Transform,
    stored: tuple[int, int] | None,
    seed: int,
    epoch: int,
    count: int,
    stream: str = "augment",
) -> Augmentation | None:
    """Return an epoch's draws for ``count`` positions, or None when nothing is random.

    A crop's (top, left) is uniform over all windows inside of the image with its padding; flips
    have probability ½. Arrays are [count]: int64 and bool; entry i belongs to the i-th row of the
    epoch's order.

    Args:
        transform: ``data.transform`` of the spec.
        stored: (height, width) of the stored images; None for tables.
        seed: the experiment's seed.
        epoch: 0, 1, …
        count: positions in the epoch.
        stream: equal streams see equal draws; a training's own name.
        stream: what the draws belong to; a step, a fold.

    Raises:
        SpecError: the transform does not fit the examples.
    """
    size = crop_size(transform, stored)
    if stored is None or size is None:
        return None
    moves = size != stored or transform.pad > 0
    if not (moves or transform.horizontal_flip or transform.vertical_flip):
        return None
    corners = []
    for axis, name in enumerate(("top", "left")):
        windows = stored[axis] + 2 * transform.pad - size[axis] + 1
        drawn = draws.integers(seed, f"{stream}/{name}", epoch, (count,), windows)
        corners.append(drawn - transform.pad)
    flips = []
    for name in ("horizontal_flip", "vertical_flip"):
        half = draws.uniform(seed, f"{stream}/{name}", epoch, (count,)) < 0.5
        flips.append(half & bool(getattr(transform, name)))
    return Augmentation(corners[0], corners[1], flips[0], flips[1])


def _chunks(x: Examples, rows: Integers) -> Iterator[Array]:
    """Yield the rows' values as [values, channels], a bounded number at a time."""
    step = max(1, _CHUNK_VALUES // max(1, int(np.prod(x.shape[1:], dtype=np.int64))))
    for start in range(0, len(rows), step):
        yield x[rows[start : start + step]].reshape(-1, x.shape[-1])
