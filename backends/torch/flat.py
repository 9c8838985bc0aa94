"""Trainable tensors, their gradients and optimizer slots, each in one buffer.

An update of hundreds of small tensors is mostly overhead. Here the module's parameters are views
of one buffer and their gradients views of another, so that autograd adds the shards of a batch up
in place, in order, and an update is a few operations on one or two long vectors: tensors that
decay come first. On a CPU the vector is taken in pieces that stay in cache between the operations
of a formula, which otherwise streams everything from memory once per operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from paribus.optimizers import Rule

# Elements: 64-byte boundaries, as fresh tensors have them.
ALIGNMENT = 16
# Elements: of 32 Ki to 1 Mi, these were the fastest for 11 million parameters on a CPU.
PIECE = 128 * 1024


class Flat:
    """The state that an update reads and writes.

    Attributes:
        weights, gradients: views by name, in the shapes of the tensors.
        slots: slot name → views by name.
        gradient: all gradients, one vector; the gaps for alignment are zero.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        decayed: frozenset[str],
        rule: Rule,
        dtype: torch.dtype,
        device: torch.device,
        channels_last: bool,
    ) -> None:
        self._rule, self._shapes, self._channels_last = rule, shapes, channels_last
        order = sorted(shapes, key=lambda name: name not in decayed)
        self._starts: dict[str, int] = {}
        size = boundary = 0
        for name in order:
            self._starts[name] = size
            size += -(-prod(shapes[name]) // ALIGNMENT) * ALIGNMENT
            boundary = size if name in decayed else boundary
        buffers = [
            torch.zeros(size, dtype=dtype, device=device) for _ in range(2 + len(rule.slots))
        ]
        self.gradient = buffers[1]
        self._slots = buffers[2:]
        self.weights, self.gradients, *slots = [self._views(buffer) for buffer in buffers]
        self.slots = dict(zip(rule.slots, slots, strict=True))
        piece = PIECE if device.type == "cpu" else max(size, 1)
        self._pieces = [
            (buffers[0][cut], buffers[1][cut], tuple(slot[cut] for slot in buffers[2:]), decay)
            for start, stop, decay in ((0, boundary, True), (boundary, size, False))
            for cut in (slice(a, min(a + piece, stop)) for a in range(start, stop, piece))
        ]

    def update(self, scalars: Mapping[str, float]) -> None:
        """Apply the rule once; scalars are Python floats, so the device is not waited for."""
        rule = self._rule.update
        for weights, gradient, slots, decay in self._pieces:
            new, state = rule(weights, gradient, slots, scalars, decay, torch.sqrt)
            weights.copy_(new)
            for slot, value in zip(slots, state, strict=True):
                slot.copy_(value)

    def clip(self, norm: Tensor, limit: float) -> None:
        """Scale the gradient so that its norm is at most ``limit``."""
        self.gradient.mul_((limit / (norm + 1e-6)).clamp_(max=1.0))

    def reset(self) -> None:
        """Set every slot to zero."""
        for slot in self._slots:
            slot.zero_()

    def _views(self, buffer: Tensor) -> dict[str, Tensor]:
        return {name: self._view(buffer, name, shape) for name, shape in self._shapes.items()}

    def _view(self, buffer: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
        start = self._starts[name]
        part = buffer[start : start + prod(shape)]
        if self._channels_last and len(shape) == 4:
            out, inner, height, width = shape
            return part.view(out, height, width, inner).permute(0, 3, 1, 2)
        return part.view(shape)
