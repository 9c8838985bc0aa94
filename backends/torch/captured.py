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
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from paribus.backends.torch.batches import Batches, tensor
from paribus.plan import TrainPlan

# Steps before one is recorded, and steps that there is room for.
WARM, PLACES = 3, 64
# Multiply-adds of a step's forward pass: larger ones keep the device busy for as long as their
# launches take, and a graph holds memory of its own for what lies between.
LARGE = 50_000_000_000


class Results(NamedTuple):
    """Room for what K steps give: the rows' losses [K, S, b] and the norms [K]."""

    losses: Tensor
    norms: Tensor


class Played(Protocol):
    """What K steps read besides what they always read; all of it is on the device."""

    def room(self, places: int) -> Self:
        """Return memory for so many steps like these."""

    def take(self, other: Self, first: int, count: int) -> None:
        """Become some of other steps, in the same memory."""

    def one(self, at: Tensor) -> Self:
        """Return one step; ``at`` int64 [1] says which, on the device."""


class Steps(NamedTuple):
    """Of a training.

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
        """See ``Played``."""
        return Steps(self.batches.room(places), *rooms(places, *self[1:]))

    def take(self, other: Steps, first: int, count: int) -> None:
        """See ``Played``."""
        self.batches.take(other.batches, first, count)
        copied(self[1:], other[1:], first, count)

    def one(self, at: Tensor) -> Steps:
        """See ``Played``."""
        return Steps(self.batches.one(at), *chosen(at, *self[1:]))


def rooms(places: int, *parts: Tensor | None) -> list[Any]:
    """Return memory like tensors [K, …] for so many steps; None stays None."""
    return [None if one is None else one.new_zeros(places, *one.shape[1:]) for one in parts]


def copied(
    to: Sequence[Tensor | None], parts: Sequence[Tensor | None], first: int, count: int
) -> None:
    """Copy steps of tensors [K, …] to the beginning of others."""
    for mine, theirs in zip(to, parts, strict=True):
        if mine is not None and theirs is not None:
            mine[:count].copy_(theirs[first : first + count])


def chosen(at: Tensor, *parts: Tensor | None) -> list[Any]:
    """Return the step [1, …] of tensors [K, …] that ``at`` int64 [1] says; None stays None."""
    return [None if one is None else one.index_select(0, at) for one in parts]


P = TypeVar("P", bound=Played)
# Makes the one step that it is given, in which nothing is waited for, and leaves what comes of it.
Work = Callable[[P, Sequence[Tensor]], None]


class NotRecorded(Exception):
    """A step cannot be recorded."""


class Captured(Generic[P]):
    """A recorded step, or one that will be.

    Attributes:
        handle: the examples that it reads.
        made: steps so far.
        like: what comes of a step, [1, …] each.
        places: steps that there is room for.

    Args:
        steps: like those that it will make.
        out: like what comes of them, tensors [K, …].
        work: makes one.
        held: what else it reads, which has to stay where it is.
        warm: steps before it is recorded.
    """

    def __init__(
        self,
        handle: object,
        steps: P,
        out: Sequence[Tensor],
        work: Work[P],
        held: Callable[[], Any] = lambda: None,
        places: int = PLACES,
        warm: int = WARM,
    ) -> None:
        self.handle, self.made, self._warm = handle, 0, warm
        self._device, self._held, self._holds = out[0].device, held, None
        self._steps, self._work, self.places = steps.room(places), work, places
        self.like = [one.new_zeros(1, *one.shape[1:]) for one in out]
        self._out = rooms(places, *out)
        self._at = torch.zeros(1, dtype=torch.int64, device=self._device)
        self._numbers = torch.arange(places, device=self._device)
        self._play: Callable[[], None] | None = None

    def make(self, steps: P, first: int, count: int, out: Sequence[Tensor], to: int) -> None:
        """Make some steps of a plan.

        Args:
            steps: the plan's.
            first, count: which of them.
            out: where it goes what comes of them, [K, …] each.
            to: the number there of the first one's.

        Raises:
            NotRecorded: steps like these cannot be recorded; the others of these are not made.
                ``made`` counts those that are.
        """
        while count:
            some = min(count, self.places if self._play is not None else 1)
            self._steps.take(steps, first, some)
            self._at.zero_()
            if self._play is None and self.made < self._warm:
                aside(self._step, self._device)
            else:
                if self._play is None:
                    self._play = recorded(self._step, self._device)
                    self._holds = self._held()
                for _ in range(some):
                    self._play()
            self.made += some
            for given, own in zip(out, self._out, strict=True):
                given[to : to + some].copy_(own[:some])
            first, to, count = first + some, to + some, count - some

    def _step(self) -> None:
        """Make the step that is counted to."""
        self._work(self._steps.one(self._at), self.like)
        here = self._numbers == self._at
        for own, out in zip(self.like, self._out, strict=True):
            torch.where(here.view(-1, *(1,) * (out.ndim - 1)), own, out, out=out)
        self._at.add_(1)


def aside(work: Callable[[], None], device: torch.device) -> None:
    """Do the work where a graph will be recorded: on another stream than the usual one."""
    if device.type != "cuda":
        work()
        return
    usual, other = torch.cuda.current_stream(device), _beside(device.index)
    other.wait_stream(usual)
    with torch.cuda.stream(other):
        work()
    usual.wait_stream(other)


@cache
def _beside(index: int) -> torch.cuda.Stream:
    """Return the stream that is recorded on: one, for libraries keep a workspace for each."""
    return torch.cuda.Stream(index)  # type: ignore[no-untyped-call]


def columns(plan: TrainPlan, names: tuple[str, ...], like: Tensor) -> Tensor:
    """Return the scalars of a plan's steps, [K, n]."""
    stacked = np.stack([plan.scalars[name] for name in names], axis=1)
    kind = np.float64 if like.dtype == torch.float64 else np.float32
    return tensor(stacked.astype(kind), like.device)


def recorded(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return what does the work again: a graph's replay, or on a CPU the work.

    Whatever a graph's kernels read has to stay where it is. What the work makes lies in memory of
    the graph's own; but cuBLAS has a workspace for each stream, which any code may let go of
    (Lightning does, at the end of a training). So it is let go of here: the work then makes another
    one, in that memory.

    Raises:
        NotRecorded: the work waits for the device, or does what no graph can.
    """
    if device.type != "cuda":
        return work
    forget: Callable[[], None] | None = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
    if forget is None:
        raise NotRecorded("this PyTorch keeps workspaces that a graph would read")
    graph: Any = torch.cuda.CUDAGraph()
    torch.cuda.synchronize(device)
    forget()
    try:
        # Other threads, which decode what is read next, may do what they like meanwhile.
        beside = _beside(device.index)
        with torch.cuda.graph(graph, stream=beside, capture_error_mode="thread_local"):
            work()
    except RuntimeError as error:
        # What the failed attempt holds must not be taken for memory in use.
        del graph
        gc.collect()
        torch.cuda.synchronize(device)
        raise NotRecorded(str(error).strip().partition("\n")[0]) from error
    finally:
        forget()
    play: Callable[[], None] = graph.replay
    return play
