"""Random numbers as a pure function of (seed, stream, epoch): nothing is ever carried along.

Frameworks draw from generators of their own, whose numbers differ between frameworks, versions
and devices, and whose state has to be saved to resume. Here every number comes from the Philox
counter generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), keyed
by a hash of the seed and a stream's name, with the epoch in the counter. So the draws of any epoch
are computed without those before it, and two streams never share a number.

Only Philox's raw 64-bit words are taken from NumPy, because NumPy promises their stability but
not that of its distributions; the distributions below are written out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]


def words(seed: int, stream: str, epoch: int, count: int) -> Words:
    """Return ``count`` uniform 64-bit words of (seed, stream, epoch); uint64 [count]."""
    digest = hashlib.blake2b(f"{seed}:{stream}".encode(), digest_size=16).digest()
    key = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
    # The counter is 256 bits, least significant word first; the epoch sits in the top word, so
    # an epoch has 2**192 blocks to itself.
    generator = np.random.Philox(counter=np.array([0, 0, 0, epoch], dtype=np.uint64), key=key)
    return np.asarray(generator.random_raw(count), dtype=np.uint64)


def uniform(seed: int, stream: str, epoch: int, shape: Sequence[int]) -> Floats:
    """Return float64 uniform in the open interval (0, 1), of ``shape``."""
    raw = words(seed, stream, epoch, int(np.prod(shape, dtype=np.int64)))
    # 53 bits and a half: never exactly 0 or 1, so that the inverse normal below is finite.
    return (((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53).reshape(shape)


def normal(seed: int, stream: str, epoch: int, shape: Sequence[int]) -> Floats:
    """Return float64 standard normal numbers of ``shape``, by inverting the distribution."""
    from scipy.special import ndtri

    return np.asarray(ndtri(uniform(seed, stream, epoch, shape)), dtype=np.float64)


def truncated_normal(
    seed: int, stream: str, epoch: int, shape: Sequence[int], low: float, high: float
) -> Floats:
    """Return float64 standard normal numbers restricted to [low, high] (in standard deviations)."""
    from scipy.special import ndtr, ndtri

    bottom, top = ndtr(low), ndtr(high)
    inside = bottom + (top - bottom) * uniform(seed, stream, epoch, shape)
    return np.asarray(np.clip(ndtri(inside), low, high), dtype=np.float64)


def integers(
    seed: int, stream: str, epoch: int, shape: Sequence[int], high: int
) -> npt.NDArray[np.int64]:
    """Return int64 numbers in [0, high) of ``shape``; ``high`` must be below 2**32.

    The 32-bit multiply-shift has a bias below high / 2**32, far under anything a crop can show.
    """
    raw = words(seed, stream, epoch, int(np.prod(shape, dtype=np.int64)))
    scaled = ((raw >> np.uint64(32)) * np.uint64(high)) >> np.uint64(32)
    return scaled.astype(np.int64).reshape(shape)


def permutation(seed: int, stream: str, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """Return a uniform permutation of ``range(count)``: the order that sorts ``count`` words."""
    return np.argsort(words(seed, stream, epoch, count), kind="stable").astype(np.int64)
