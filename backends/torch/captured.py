"""Optimizer steps as CUDA graphs: the launches of one step, recorded once and played for each.

A small network's step is a few hundred kernels of some microseconds each, and Python takes longer
to launch one than the device to run it. A graph launches all of them at once. It reads the same
memory each time, so what differs from step to step is copied there before: which rows, their labels
and weights, and the scalars of the update, which are tensors for that.

The first steps are made as ever, because libraries make their workspaces in them. What the host has
a say in cannot be recorded: noise by the plan's keys, and shards of other sizes than the recorded
step's. On a CPU there is nothing to record; the same operations are then executed each time, which
is what the tests look at.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from paribus.backends.torch.batches import Batches, Examples, tensor
from paribus.plan import TrainPlan

# Steps before one is recorded, and after how many its place may be taken by one of other examples:
# recording takes as long as some dozens of steps, and streamed rows are elsewhere each time.
WARM, WORTH = 3, 64


class Results(NamedTuple):
    """Room for what K steps give: the rows' losses [K, S, b] and the norms [K]."""

    losses: Tensor
    norms: Tensor


Tensors = Mapping[str, Tensor]
# batches of one step, its row weights, room for its results, scalars by name
Work = Callable[[Batches, Tensor, Results, Tensors], None]


class Captured:
    """A recorded step.

    Attributes:
        handle: the examples that it reads.
        made: steps so far.

    Args:
        batches, row_weights: of a plan whose steps are like it.
        scalars: names of what the update reads.
        work: makes a step from what it is given, in which nothing is waited for.
    """

    def __init__(
        self,
        handle: Examples,
        batches: Batches,
        row_weights: Tensor,
        scalars: tuple[str, ...],
        work: Work,
    ) -> None:
        self.handle = handle
        self._batches, self._weights = batches.alone(), row_weights[:1].clone()
        self._out = Results(torch.zeros_like(self._weights), self._weights.new_zeros(1))
        self._scalars = self._weights.new_zeros(len(scalars))
        self._device, self.made = row_weights.device, 0
        named = dict(zip(scalars, self._scalars.unbind(), strict=True))
        self._play: Callable[[], None] = lambda: work(
            self._batches, self._weights, self._out, named
        )

    def step(
        self, number: int, batches: Batches, row_weights: Tensor, scalars: Tensor, out: Results
    ) -> None:
        """Make a step of a plan; its losses and norm go where the plan's do."""
        self._batches.take(batches, number)
        self._weights.copy_(row_weights[number : number + 1])
        self._scalars.copy_(scalars[number])
        if self.made == WARM:
            self._play = recorded(self._play, self._device)
        if self.made < WARM:
            aside(self._play, self._device)
        else:
            self._play()
        self.made += 1
        for given, own in zip(out, self._out, strict=True):
            given[number].copy_(own[0])


def aside(work: Callable[[], None], device: torch.device) -> None:
    """Do the work where a graph will be recorded: on another stream than the usual one."""
    if device.type != "cuda":
        work()
        return
    usual: Any = torch.cuda.current_stream(device)
    other: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    other.wait_stream(usual)
    with torch.cuda.stream(other):
        work()
    usual.wait_stream(other)


def fits(plan: TrainPlan) -> bool:
    """Return whether a plan's steps can be played: all alike, and nothing drawn from keys."""
    return plan.noise is None and bool((plan.counts == plan.counts[:1]).all())


def key(plan: TrainPlan, batches: Batches) -> Hashable:
    """Return what plans of the same recorded step have in common."""
    return batches.kind, plan.counts[0].tobytes(), plan.indices.shape[1:]


def columns(plan: TrainPlan, names: tuple[str, ...], like: Tensor) -> Tensor:
    """Return the scalars of a plan's steps, [K, n]."""
    stacked = np.stack([plan.scalars[name] for name in names], axis=1)
    kind = np.float64 if like.dtype == torch.float64 else np.float32
    return tensor(stacked.astype(kind), like.device)


def recorded(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return what does the work again: a graph's replay, or on a CPU the work."""
    if device.type != "cuda":
        return work
    graph: Any = torch.cuda.CUDAGraph()
    torch.cuda.synchronize(device)
    with torch.cuda.graph(graph):
        work()
    play: Callable[[], None] = graph.replay
    return play
