"""Which values dropout drops: a pure function of (key, row, position), the same on every backend.

Frameworks draw masks from generators of their own, so two of them never drop the same values. Here
each of a network's ``noisy`` nodes has a key of two words in every optimizer step, drawn by core
from (seed, stream, step), and the adapter computes the mask on its device from the key and a
counter. The function is 32-bit integer arithmetic that wraps, which every framework and device has:

    word(key, i)   x ← i · 0x9E3779B9 + key₀
                   x ← (x ⊕ (x ≫ 16)) · 0x7FEB352D
                   x ← x ⊕ key₁
                   x ← (x ⊕ (x ≫ 15)) · 0x846CA68B
                   x ⊕ (x ≫ 16)

with logical shifts: a counter spread by the golden ratio, through the bijection of 32 bits whose
multipliers Wellons searched for least bias ("Prospecting for hash functions", 2018), the second
key between its rounds. A word serves two values: its lower half the even one, its upper half the
odd one. Of a node with ``size`` values an example, value ``position`` of row ``row`` (counted in
the step's batch, all shards together) has the word number row · ⌈size / 2⌉ + ⌊position / 2⌋. It is
kept where its half, as an unsigned number of 16 bits, is at least ``threshold(p)``, and what is
kept is multiplied by ``scale(p)``, which makes the mean of a value exactly what it was.

What decides is the row's place in the step, so that shards and padding change no mask.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from paribus import draws

Keys = npt.NDArray[np.int32]
GOLDEN, FIRST, SECOND = 0x9E3779B9, 0x7FEB352D, 0x846CA68B
RESOLUTION = 2**16


def keys(seed: int, stream: str, first: int, steps: int, nodes: int) -> Keys:
    """Return the keys of ``steps`` optimizer steps from step ``first``; int32 [steps, nodes, 2].

    Where they start costs nothing: those of earlier steps are not computed.
    """
    drawn = draws.words(seed, f"{stream}/noise", 0, steps * nodes, first * nodes)
    return drawn.astype("<u8").view("<i4").astype(np.int32).reshape(steps, nodes, 2)


def threshold(probability: float) -> int:
    """Return how many of 65 536 values are dropped: p in whole 65 536ths."""
    return round(probability * RESOLUTION)


def scale(probability: float) -> float:
    """Return what kept values are multiplied by: 1 / (1 − threshold / 65 536)."""
    return RESOLUTION / (RESOLUTION - threshold(probability))


def words_per_row(size: int) -> int:
    """Return ⌈size / 2⌉."""
    return (size + 1) // 2


def kept(key: Keys, rows: range, size: int, probability: float) -> npt.NDArray[np.bool_]:
    """Return which values are kept, bool [len(rows), size]: the definition, in NumPy.

    Args:
        key: int32 [2], a node's in one step.
        rows: places in the step's batch.
        size: values of one example at the node.
        probability: that a value is dropped, in [0, 1).
    """
    each = words_per_row(size)
    counters = np.arange(rows.start * each, rows.stop * each, dtype=np.uint64).astype(np.uint32)
    one, two = key.view(np.uint32)
    # Arrays of unsigned numbers wrap silently, as is meant.
    x = counters * np.uint32(GOLDEN) + one
    x = (x ^ (x >> np.uint32(16))) * np.uint32(FIRST)
    x = x ^ two
    x = (x ^ (x >> np.uint32(15))) * np.uint32(SECOND)
    x = x ^ (x >> np.uint32(16))
    halves = x.astype("<u4").view("<u2").reshape(len(rows), 2 * each)[:, :size]
    return np.asarray(halves >= threshold(probability))
