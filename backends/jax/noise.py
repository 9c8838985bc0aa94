"""Dropout's masks on the device, by the definition in ``paribus.noise``."""

from __future__ import annotations

from math import prod
from typing import Any

import jax.numpy as jnp
from jax import lax

from paribus.architectures import Node
from paribus.backends.jax.passes import Pass
from paribus.noise import FIRST, GOLDEN, SECOND, scale, threshold, words_per_row

Tensor = Any


def dropped(
    node: Node, x: Tensor, shape: tuple[int, ...], probability: float, state: Pass
) -> Tensor:
    """Return ``x`` with the values that the node's key chooses set to 0 and the others scaled.

    Args:
        node: whose key decides; without one ``x`` is returned.
        x: [b, …].
        shape: of the values of one example in the network's order; their mask broadcasts to ``x``,
            images [b, C, H, W] of which are [b, H, W, C].
        probability: that a value is dropped.
        state: the pass.
    """
    if node.name not in state.keys:
        return x
    mask = kept(state.keys[node.name], state.places, prod(shape), probability)
    mask = mask.reshape(-1, *shape)
    if node.op == "dropout" and len(shape) == 3:
        mask = mask.transpose(0, 2, 3, 1)
    # In a reduced precision the factor would be off, and every mean with it.
    scaled = (x.astype(state.dtype) * scale(probability)).astype(x.dtype)
    return jnp.where(mask, scaled, 0)


def kept(key: Tensor, places: Tensor, size: int, probability: float) -> Tensor:
    """Return which values are kept, bool [len(places), size]; see ``paribus.noise.kept``.

    Args:
        key: int32 [2].
        places: uint32 [b].
        size: values of one example.
        probability: that a value is dropped.
    """
    each = words_per_row(size)
    # Unsigned numbers wrap, as is meant.
    counters = places[:, None] * jnp.uint32(each) + jnp.arange(each, dtype=jnp.uint32)
    one, two = lax.bitcast_convert_type(key, jnp.uint32)
    x = counters * jnp.uint32(GOLDEN) + one
    x = (x ^ (x >> 16)) * jnp.uint32(FIRST)
    x = x ^ two
    x = (x ^ (x >> 15)) * jnp.uint32(SECOND)
    x = x ^ (x >> 16)
    halves = jnp.stack([x & jnp.uint32(0xFFFF), x >> 16], -1).reshape(places.shape[0], 2 * each)
    return halves[:, :size] >= jnp.uint32(threshold(probability))
