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
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


def words(seed: int, stream: str, epoch: int, count: int, start: int = 0) -> Words:
    """Return ``count`` uniform 64-bit words of (seed, stream, epoch), the first being ``start``.

    uint64 [count]. Where they start costs nothing: those before are not computed.
    """
    digest = hashlib.blake2b(f"{seed}:{stream}".encode(), digest_size=16).digest()
    key = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
    # The counter is 256 bits, least significant word first; the epoch sits in the top word, so
    # an epoch has 2**192 blocks to itself. A block is four words.
    block, skipped = divmod(start, 4)
    generator = np.random.Philox(counter=np.array([block, 0, 0, epoch], dtype=np.uint64), key=key)
    return np.asarray(generator.random_raw(skipped + count), dtype=np.uint64)[skipped:]


def uniform(seed: int, stream: str, epoch: int, shape: Sequence[int]) -> Floats:
    """Return float64 uniform in the open interval (0, 1), of ``shape``."""
    raw = words(seed, stream, epoch, int(np.prod(shape, dtype=np.int64)))
    return _fractions(raw).reshape(shape)


def uniform_rows(seed: int, stream: str, epoch: int, positions: Integers, count: int) -> Floats:
    """Return rows of ``uniform(seed, stream, epoch, (…, count))``; float64 [n, count].

    Args:
        seed, stream, epoch: as everywhere.
        positions: int64 [n], the numbers of the rows, in any order; only these are computed, and
            those that follow one another in one go.
        count: numbers in a row.
    """
    rows = np.empty((len(positions), count), dtype=np.float64)
    begins = np.flatnonzero(np.diff(positions, prepend=-2) != 1).tolist()
    for begin, end in pairwise([*begins, len(positions)]):
        raw = words(seed, stream, epoch, (end - begin) * count, int(positions[begin]) * count)
        rows[begin:end] = _fractions(raw).reshape(-1, count)
    return rows


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


def integers(seed: int, stream: str, epoch: int, shape: Sequence[int], high: int) -> Integers:
    """Return int64 numbers in [0, high) of ``shape``; ``high`` must be below 2**32.

    The 32-bit multiply-shift has a bias below high / 2**32, far under anything a crop can show.
    """
    raw = words(seed, stream, epoch, int(np.prod(shape, dtype=np.int64)))
    scaled = ((raw >> np.uint64(32)) * np.uint64(high)) >> np.uint64(32)
    return scaled.astype(np.int64).reshape(shape)


def permutation(seed: int, stream: str, epoch: int, count: int) -> Integers:
    """Return a uniform permutation of ``range(count)``: the order that sorts ``count`` words."""
    return np.argsort(words(seed, stream, epoch, count), kind="stable").astype(np.int64)


def _fractions(raw: Words) -> Floats:
    # 53 bits and a half: never exactly 0, and 1 only where the half is rounded up, which is cut; so
    # the inverse normal is finite.
    found = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return np.minimum(found, 1.0 - 2.0**-53)
