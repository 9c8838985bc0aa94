"""Dropping values by the plan's keys, inside the graph: ``paribus.noise`` in unsigned operations.

The keys cross as int64, because TensorFlow keeps int32 off a GPU; a counter's spread by the golden
ratio is a range with that step, whose lower 32 bits are the word that the definition starts from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from paribus.architectures import Network, Node
from paribus.noise import FIRST, GOLDEN, SECOND, scale, threshold, words_per_row
from paribus.plan import TrainPlan

Tensor = Any


class Keys(NamedTuple):
    """``words`` int64 [K, S, L, 2], of every shard its step's; ``first`` int64 [K, S].

    ``first`` is the place of a shard's first row in the step's batch.
    """

    words: Tensor
    first: Tensor


def keys_of(plan: TrainPlan) -> Keys:
    """Return a plan's keys for each shard; of no nodes where it has none."""
    steps, shards = plan.counts.shape
    before = np.cumsum(plan.counts, axis=1) - plan.counts
    if plan.noise is None:
        return Keys(np.zeros((steps, shards, 0, 2), np.int64), before)
    unsigned = plan.noise.view(np.uint32).astype(np.int64)[:, None]
    return Keys(np.repeat(unsigned, shards, axis=1), before)


@dataclass(frozen=True)
class Noise:
    """What one forward pass drops.

    Attributes:
        words: of each noisy node, int64 [2].
        first: the place of the first row in the step's batch, int64.
        native: whether TensorFlow's generator draws, started from the keys.
    """

    words: Mapping[str, Tensor]
    first: Tensor
    native: bool

    @classmethod
    def of(cls, network: Network, keys: Keys, native: bool) -> Noise:
        """Return the noise of a shard's keys [L, 2]."""
        words = {name: keys.words[place] for place, name in enumerate(network.noisy)}
        return cls(words, keys.first, native)

    def drop(self, node: Node, x: Tensor, p: float, *, whole: bool = False) -> Tensor:
        """Return ``x`` without what the node drops: single values, or ``whole`` examples.

        Images come as [b, H, W, C], and are counted by channel, row and column.
        """
        rows, rank = tf.shape(x)[0], x.shape.rank
        shape = (rows, *(1,) * (rank - 1)) if whole else (rows, *x.shape[1:])
        if self.native:
            seed = self.words[node.name] + tf.stack([self.first, tf.zeros_like(self.first)])
            found = tf.nn.experimental.stateless_dropout(x, p, seed, noise_shape=shape)
            return tf.cast(found, x.dtype)
        size = 1 if whole else int(np.prod(x.shape[1:]))
        found = kept(self.words[node.name], self.first, rows, size, threshold(p))
        if len(node.shape) == 3 and not whole:
            found = tf.transpose(tf.reshape(found, (rows, *node.shape)), (0, 2, 3, 1))
        # The factor in a reduced precision would be off, and every mean with it.
        exact = x if x.dtype.size > 2 else tf.cast(x, tf.float32)
        factor = tf.cast(tf.reshape(found, shape), exact.dtype) * scale(p)
        return tf.cast(exact * factor, x.dtype)


def kept(key: Tensor, first: Tensor, rows: Tensor, size: int, least: int) -> Tensor:
    """Return which values are kept, bool [..., rows, size]; see ``paribus.noise.kept``.

    Args:
        key: int64 [..., 2], of one step or of many replicas' steps.
        first: int64 [...], the place of the first row in the step's batch.
        rows: how many there are, int32.
        size: values of one example.
        least: what a draw has to reach to be kept.
    """
    each = words_per_row(size)
    # Of shapes and constants alone, as XLA wants a range.
    spread = tf.range(0, tf.cast(rows, tf.int64) * each * GOLDEN, GOLDEN, dtype=tf.int64)
    start = key[..., 0] + first * each % 2**32 * GOLDEN % 2**32
    x = tf.cast(spread, tf.uint32) + tf.cast(start, tf.uint32)[..., None]
    x = _shifted(x, 16) * _word(FIRST)
    x = tf.bitwise.bitwise_xor(x, tf.cast(key[..., 1, None], tf.uint32))
    x = _shifted(x, 15) * _word(SECOND)
    halves = tf.bitcast(_shifted(x, 16), tf.uint16)
    halves = tf.reshape(halves, (*key.shape[:-1], rows, 2 * each))[..., :size]
    return halves >= tf.constant(least, tf.uint16)


def _shifted(x: Tensor, by: int) -> Tensor:
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, _word(by)))


def _word(value: int) -> Tensor:
    return tf.constant(value, tf.uint32)
