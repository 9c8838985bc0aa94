"""Trainable tensors, their gradients and optimizer slots, each in one buffer.

An update of hundreds of small tensors is mostly overhead. Here the module's parameters are views
of one buffer and their gradients views of another, so that autograd adds the shards of a batch up
in place, in order, and an update is a few operations on one or two long vectors: tensors that
decay come first. On a CPU the vector is taken in pieces that stay in cache between the operations
of a formula, which otherwise streams everything from memory once per operation.

Of large tensors that would still be two passes over memory too many: one that fills the buffer with
zeros and one that adds to them. Where the gradient is not needed as one vector, theirs stay where
autograd leaves them (``Apart``), and the update reads them there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from paribus.backends.torch.program import Program
from paribus.optimizers import Rule

# Elements: 64-byte boundaries, as fresh tensors have them.
ALIGNMENT = 16
# Elements: of 32 Ki to 1 Mi, these were the fastest for 11 million parameters on a CPU.
PIECE = 128 * 1024


@dataclass(frozen=True)
class Apart:
    """A large parameter whose gradient is not kept in the buffer; ``view`` is its place there."""

    part: Tensor
    view: Tensor

    @property
    def start(self) -> int:
        """Where in the buffer its place begins."""
        return int(self.view.storage_offset())

    @property
    def stop(self) -> int:
        """Where it ends."""
        return self.start + self.view.numel()

    def gradient(self) -> Tensor:
        """Return the gradient as a vector in the buffer's order of elements."""
        found = self.part.grad
        if found is None:
            # Nothing that was computed depends on it.
            return self.view.zero_().as_strided((self.view.numel(),), (1,))
        if found.stride() != self.view.stride():
            found = self.view.copy_(found)
        return found.as_strided((found.numel(),), (1,))


@dataclass(frozen=True)
class Piece:
    """A stretch of the buffers that is updated at once; ``gradient`` None: it is ``apart``'s."""

    weights: Tensor
    gradient: Tensor | None
    slots: tuple[Tensor, ...]
    spare: tuple[Tensor, ...]
    decay: bool
    apart: int = 0
    first: int = 0


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
        self._shapes, self._channels_last = shapes, channels_last
        order = sorted(shapes, key=lambda name: name not in decayed)
        self._starts: dict[str, int] = {}
        size = boundary = 0
        for name in order:
            self._starts[name] = size
            size += -(-prod(shapes[name]) // ALIGNMENT) * ALIGNMENT
            boundary = size if name in decayed else boundary
        self._buffers = [
            torch.zeros(size, dtype=dtype, device=device) for _ in range(2 + len(rule.slots))
        ]
        self.gradient = self._buffers[1]
        self.weights, self.gradients, *slots = [self._views(one) for one in self._buffers]
        self.slots = dict(zip(rule.slots, slots, strict=True))
        self._piece = PIECE if device.type == "cpu" else max(size, 1)
        self._boundary, self._size = boundary, size
        self._programs = {decay: Program(rule, decay) for decay in (False, True)}
        count = max(program.spare for program in self._programs.values())
        between = min(self._piece, size)
        self._spare = [torch.empty(between, dtype=dtype, device=device) for _ in range(count)]
        self._apart: Sequence[Apart] = ()
        self._pieces = self._cut([])
        self._kept = [self.gradient]

    def set_apart(self, parts: Sequence[Apart]) -> None:
        """Leave these parameters' gradients where autograd leaves them."""
        self._apart = sorted(parts, key=lambda one: one.start)
        self._pieces = self._cut(self._apart)
        edges = [0, *(edge for one in self._apart for edge in (one.start, one.stop)), self._size]
        self._kept = [self.gradient[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]

    def _cut(self, apart: Sequence[Apart]) -> list[Piece]:
        edges = {0, self._boundary, self._size}
        places = {one.start: number for number, one in enumerate(apart)}
        edges |= {edge for one in apart for edge in (one.start, one.stop)}
        ordered, pieces = sorted(edges), []
        weights, gradient, *slots = self._buffers
        for start, stop in pairwise(ordered):
            for a in range(start, stop, self._piece):
                cut = slice(a, min(a + self._piece, stop))
                own = None if start in places else gradient[cut]
                parts = tuple(slot[cut] for slot in slots)
                spare = tuple(one[: cut.stop - a] for one in self._spare)
                decay = start < self._boundary
                pieces.append(
                    Piece(weights[cut], own, parts, spare, decay, places.get(start, 0), a - start)
                )
        return pieces

    def begin(self) -> None:
        """Make the gradient zero."""
        for part in self._kept:
            part.zero_()
        for one in self._apart:
            one.part.grad = None

    def update(self, scalars: Mapping[str, float | Tensor]) -> None:
        """Apply the rule once; scalars are Python's, or on the device: it is not waited for."""
        apart = [one.gradient() for one in self._apart]
        for piece in self._pieces:
            gradient = piece.gradient
            if gradient is None:
                gradient = apart[piece.apart][piece.first : piece.first + len(piece.weights)]
            registers = (piece.weights, gradient, *piece.slots, *piece.spare)
            self._programs[piece.decay].run(registers, scalars)

    def gather(self) -> None:
        """Bring the gradients that are apart into the buffer."""
        for one in self._apart:
            one.view.as_strided((one.view.numel(),), (1,)).copy_(one.gradient())

    def take(self, other: Flat) -> None:
        """Copy weights and slots of another one, whatever the order of its memory."""
        for mine, theirs in (
            (self.weights, other.weights),
            *((self.slots[name], other.slots[name]) for name in self.slots),
        ):
            for name, view in mine.items():
                view.copy_(theirs[name])

    def clip(self, norm: Tensor, limit: float | Tensor) -> None:
        """Scale the gradient so that its norm is at most ``limit``."""
        self.gradient.mul_((limit / (norm + 1e-6)).clamp_(max=1.0))

    def reset(self) -> None:
        """Set every slot to zero."""
        for slot in self._buffers[2:]:
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
