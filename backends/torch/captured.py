"""Optimizer steps as CUDA graphs: the launches of one step, recorded once and played for each.

A small network's step is a hundred kernels of some microseconds each, and Python takes longer to
launch one than the device to run it. A graph launches all of them at once. It reads the same memory
each time, so there is room on the device for what some steps of a plan read (which rows, their
labels and weights, the scalars of the update, the keys of its noise), and for what comes of them;
which step is played, the graph counts by itself.

The kernels are those that the step launches by itself, on the same numbers, so that it has the same
bits. The first steps are made as ever, because libraries make their workspaces in them. What the
host looks at in the middle of a step cannot be recorded: modules that do so are trained as ever. On
a CPU there is nothing to record; the same operations are then executed each time, which is what the
tests look at.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from paribus.backends.torch.batches import Batches, Examples, tensor
from paribus.plan import TrainPlan

# Steps before one is recorded, and after how many its place may be taken by one of other examples:
# recording takes as long as some dozens of steps, and streamed rows are elsewhere each time.
WARM, WORTH = 3, 64
# Multiply-adds of a step's forward pass: larger ones keep the device busy for as long as their
# launches take, and a graph holds memory of its own for what lies between.
LARGE = 50_000_000_000
# Steps that there is room for, and recordings of steps that differ: of texts of other lengths, say.
PLACES, MOST = 64, 16


class Results(NamedTuple):
    """Room for what K steps give: the rows' losses [K, S, b] and the norms [K]."""

    losses: Tensor
    norms: Tensor


class Steps(NamedTuple):
    """What steps read besides examples and parameters; all of it is on the device.

    Attributes:
        batches: of K steps.
        weights: of their rows, [K, S, b].
        scalars: of their updates, [K, n].
        keys: of their noise, int32 [K, L, 2]; None where nothing is dropped.
    """

    batches: Batches
    weights: Tensor
    scalars: Tensor
    keys: Tensor | None

    def room(self, places: int) -> Steps:
        """Return memory for so many steps like these."""

        def like(part: Tensor) -> Tensor:
            return part.new_zeros(places, *part.shape[1:])

        keys = None if self.keys is None else like(self.keys)
        return Steps(self.batches.room(places), like(self.weights), like(self.scalars), keys)

    def take(self, other: Steps, first: int, count: int) -> None:
        """Become some of other steps, in the same memory."""
        self.batches.take(other.batches, first, count)
        for mine, theirs in ((self.weights, other.weights), (self.scalars, other.scalars)):
            mine[:count].copy_(theirs[first : first + count])
        if self.keys is not None and other.keys is not None:
            self.keys[:count].copy_(other.keys[first : first + count])

    def one(self, at: Tensor) -> Steps:
        """Return one step; ``at`` int64 [1] says which, on the device."""
        keys = None if self.keys is None else self.keys.index_select(0, at)
        weights, scalars = self.weights.index_select(0, at), self.scalars.index_select(0, at)
        return Steps(self.batches.one(at), weights, scalars, keys)


# Makes the one step that it is given, in which nothing is waited for.
Work = Callable[[Steps, Results], None]


class NotRecorded(Exception):
    """A step cannot be recorded."""


class Captured:
    """A recorded step, or one that will be.

    Attributes:
        handle: the examples that it reads.
        made: steps so far.

    Args:
        steps: like those that it will make.
        norms: whether gradient norms are kept.
        work: makes one.
        held: whatever else it reads, which has to stay where it is.
    """

    def __init__(
        self, handle: Examples, steps: Steps, norms: bool, work: Work, held: Callable[[], Any]
    ) -> None:
        self.handle, self.made = handle, 0
        self._device, self._held, self._holds = steps.weights.device, held, None
        self._steps, self._norms, self._work = steps.room(PLACES), norms, work
        self._one = Results(
            torch.zeros_like(self._steps.weights[:1]), self._steps.weights.new_zeros(1)
        )
        losses = torch.zeros_like(self._steps.weights)
        self._out = Results(losses, losses.new_zeros(PLACES))
        self._at = torch.zeros(1, dtype=torch.int64, device=self._device)
        self._places = torch.arange(PLACES, device=self._device)
        self._play: Callable[[], None] | None = None

    def make(self, steps: Steps, first: int, count: int, out: Results) -> None:
        """Make some steps of a plan; what comes of them goes where the plan's does.

        Raises:
            NotRecorded: steps like these cannot be recorded; the others of these are not made.
                ``made`` counts those that are.
        """
        while count:
            some = min(count, PLACES)
            if self._play is None:
                some = 1
            self._steps.take(steps, first, some)
            self._at.zero_()
            if self._play is None and self.made < WARM:
                aside(self._step, self._device)
            else:
                if self._play is None:
                    self._play = recorded(self._step, self._device)
                    self._holds = self._held()
                for _ in range(some):
                    self._play()
            self.made += some
            for given, own in zip(out, self._out, strict=True):
                given[first : first + some].copy_(own[:some])
            first, count = first + some, count - some

    def _step(self) -> None:
        """Make the step that is counted to."""
        self._work(self._steps.one(self._at), self._one)
        here = self._places == self._at
        losses, norms = self._out
        torch.where(here[:, None, None], self._one.losses, losses, out=losses)
        if self._norms:
            torch.where(here, self._one.norms, norms, out=norms)
        self._at.add_(1)


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


def stretches(counts: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Return where steps with the same rows per shard begin, and how many there are in a row."""
    found: list[tuple[int, int]] = []
    for step, own in enumerate(counts):
        if found and own == counts[found[-1][0]]:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((step, 1))
    return found


def key(counts: Sequence[int], plan: TrainPlan, batches: Batches) -> Hashable:
    """Return what steps of the same recording have in common."""
    return batches.kind, tuple(counts), plan.indices.shape[1:], plan.noise is not None


def columns(plan: TrainPlan, names: tuple[str, ...], like: Tensor) -> Tensor:
    """Return the scalars of a plan's steps, [K, n]."""
    stacked = np.stack([plan.scalars[name] for name in names], axis=1)
    kind = np.float64 if like.dtype == torch.float64 else np.float32
    return tensor(stacked.astype(kind), like.device)


def recorded(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return what does the work again: a graph's replay, or on a CPU the work.

    Raises:
        NotRecorded: the work waits for the device, or does what no graph can.
    """
    if device.type != "cuda":
        return work
    graph: Any = torch.cuda.CUDAGraph()
    torch.cuda.synchronize(device)
    try:
        with torch.cuda.graph(graph):
            work()
    except RuntimeError as error:
        # What the failed attempt holds must not be taken for memory in use.
        del graph
        gc.collect()
        torch.cuda.synchronize(device)
        raise NotRecorded(str(error).strip().partition("\n")[0]) from error
    play: Callable[[], None] = graph.replay
    return play
