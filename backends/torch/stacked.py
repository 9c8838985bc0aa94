"""The tensors of many replicas of a network, side by side: [replica, …].

What trains lies in one buffer [R, P] a kind (weights, each slot), a replica a row, tensors that
decay first; a formula of the update then runs over all replicas at once, its scalars as columns
[R, 1]. A tensor of a replica is a view of its row.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from paribus.adapter import Array, Task
from paribus.architectures import Network
from paribus.backends.torch.batches import source
from paribus.backends.torch.flat import ALIGNMENT
from paribus.backends.torch.program import Program
from paribus.optimizers import RULES

# Elements that an update computes with at a time: temporaries of this size stay in a core's cache
# and are not fetched from the system anew. From 16 Ki to 256 Ki they took the same time on a CPU.
PIECE = 64 * 1024


class Part(NamedTuple):
    """Some replicas' rows of every buffer, and room for their gradients."""

    weights: Tensor
    gradient: Tensor
    slots: tuple[Tensor, ...]
    rows: Sequence[int]
    own: bool


class Stacked:
    """The memory of R replicas.

    Attributes:
        slots: slot name → buffer [R, P].
        width: P.
        frozen: what does not train, by canonical name, [R, …].
    """

    def __init__(
        self, network: Network, task: Task, count: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        rule = RULES[task.rule]
        self._programs = {decay: Program(rule, decay) for decay in (False, True)}
        self._spare: dict[tuple[int, torch.Size], Tensor] = {}
        tensors = network.tensors
        self._shapes = {name: tensors[name].shape for name in task.trainable}
        self._starts: dict[str, int] = {}
        self.width = self._boundary = 0
        for name in sorted(task.trainable, key=lambda name: name not in task.decayed):
            self._starts[name] = self.width
            self.width += -(-prod(self._shapes[name]) // ALIGNMENT) * ALIGNMENT
            if name in task.decayed:
                self._boundary = self.width

        def buffer(*shape: int) -> Tensor:
            return torch.zeros((count, *shape), dtype=dtype, device=device)

        self._weights = buffer(self.width)
        self.slots = {slot: buffer(self.width) for slot in rule.slots}
        self.frozen = {
            name: buffer(*tensor.shape)
            for name, tensor in tensors.items()
            if name not in self._shapes
        }

    def load(self, replica: int, tensors: Mapping[str, Array]) -> None:
        """Copy all tensors of one replica, and set its slots to zero."""
        self._row(self._weights, replica, tensors)
        for name, buffer in self.frozen.items():
            buffer[replica].copy_(source(tensors[name]))
        for buffer in self.slots.values():
            buffer[replica].zero_()

    def load_slot(self, slot: str, replica: int, values: Mapping[str, Array]) -> None:
        """Copy one of a replica's slots."""
        self._row(self.slots[slot], replica, values)

    def held(self, replica: int) -> dict[str, Tensor]:
        """Return one replica's tensors, trainable or not, by name; in memory of the host."""
        own = slice(replica, replica + 1)
        views = self.views(self._weights[own].cpu())
        frozen = {name: buffer[own].cpu() for name, buffer in self.frozen.items()}
        return {name: view[0] for name, view in {**views, **frozen}.items()}

    def held_slot(self, slot: str, replica: int) -> dict[str, Tensor]:
        """Return one of a replica's slots by name, in memory of the host."""
        views = self.views(self.slots[slot][replica : replica + 1].cpu())
        return {name: view[0] for name, view in views.items()}

    def _row(self, buffer: Tensor, replica: int, values: Mapping[str, Array]) -> None:
        """Fill a row: one copy, for a GPU takes as long for each as for all."""
        row = torch.zeros((1, self.width), dtype=buffer.dtype)
        for name, view in self.views(row).items():
            view[0].copy_(source(values[name]))
        buffer[replica].copy_(row[0])

    def views(self, buffer: Tensor) -> dict[str, Tensor]:
        """Return the tensors [r, …] of a buffer [r, P]."""
        found = {}
        for name, shape in self._shapes.items():
            start = self._starts[name]
            found[name] = buffer[:, start : start + prod(shape)].view(len(buffer), *shape)
        return found

    def part(self, rows: Sequence[int], *, apart: bool = False) -> Part:
        """Return the rows of some replicas, ascending: views where they are evenly spaced.

        Args:
            rows: their numbers.
            apart: copies in any case.
        """
        buffers = (self._weights, *self.slots.values())
        cut = None if apart else evenly(rows)
        found = [buffer[list(rows) if cut is None else cut] for buffer in buffers]
        gradient = found[0].new_zeros(found[0].shape)
        return Part(found[0], gradient, tuple(found[1:]), rows, cut is None)

    def put_back(self, part: Part, rows: Container[int]) -> None:
        """Write copies of rows back where they came from, those of some replicas alone."""
        if not part.own:
            return
        at = [place for place, row in enumerate(part.rows) if row in rows]
        to = [part.rows[place] for place in at]
        self._weights[to] = part.weights[at]
        for buffer, values in zip(self.slots.values(), part.slots, strict=True):
            buffer[to] = values[at]

    def update(self, part: Part, scalars: Mapping[str, Tensor | float]) -> None:
        """Apply the rule once; scalars are numbers, or tensors [r, 1] where replicas differ."""
        together = max(1, PIECE // max(1, self.width))
        for top in range(0, len(part.rows), together):
            some = slice(top, top + together)
            own = {n: s[some] if isinstance(s, Tensor) else s for n, s in scalars.items()}
            for start, stop, decay in (
                (0, self._boundary, True),
                (self._boundary, self.width, False),
            ):
                if start == stop:
                    continue
                cut = (some, slice(start, stop))
                weights, slots = part.weights[cut], tuple(slot[cut] for slot in part.slots)
                program = self._programs[decay]
                spare = [self._between(number, weights.shape) for number in range(program.spare)]
                program.run((weights, part.gradient[cut], *slots, *spare), own)

    def _between(self, number: int, shape: torch.Size) -> Tensor:
        """Return room for what lies between an update's operations; always the same."""
        key = number, shape
        if key not in self._spare:
            self._spare[key] = self._weights.new_empty(shape)
        return self._spare[key]


def evenly(rows: Sequence[int]) -> slice | None:
    """Return ascending numbers as a slice; None where they are not evenly spaced."""
    step = rows[1] - rows[0] if len(rows) > 1 else 1
    if list(rows) != list(range(rows[0], rows[-1] + 1, step)):
        return None
    return slice(rows[0], rows[-1] + 1, step)
