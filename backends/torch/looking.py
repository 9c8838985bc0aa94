"""Evaluation of a module batch by batch: what is wanted of the outputs, played where it can be."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

import torch
from torch import Tensor

from paribus.backends.torch.batches import Batches, Examples
from paribus.backends.torch.captured import PLACES, Captured
from paribus.backends.torch.losses import right
from paribus.backends.torch.recordings import shape, stretches
from paribus.backends.torch.stepper import Forward, Stepper
from paribus.plan import EvalPlan

# A stepper, batches, a batch's number and its rows, their outputs → what is wanted of them.
Look = Callable[[Stepper, Batches, tuple[int, slice], Tensor], Sequence[Tensor]]
# Of some batches, a batch's number and how many rows it has → what is wanted of it.
Looked = Callable[[Batches, int, int], Sequence[Tensor]]
# Batches before one is recorded: many evaluations have no more.
WARM = 16
# Bytes of played batches' outputs that there is room for.
BYTES = 64 << 20


def seen(
    stepper: Stepper, batches: Batches, at: tuple[int, slice], outputs: Tensor
) -> Sequence[Tensor]:
    """Return a batch's outputs."""
    return (outputs,)


def judged(
    stepper: Stepper, batches: Batches, at: tuple[int, slice], outputs: Tensor
) -> Sequence[Tensor]:
    """Return the rows' losses [b], and how many predictions are right."""
    labels, counted = batches.labels(*at)
    hits = right(stepper.network.objective, outputs, labels, counted)
    return stepper.losses(outputs, labels, counted), hits


def looks(
    stepper: Stepper,
    handle: Examples,
    plan: EvalPlan,
    look: Look,
    forward: Forward | None = None,
    *,
    training: bool = False,
) -> Iterator[Sequence[Tensor]]:
    """Yield what is wanted of each batch's real rows, without gradients.

    Args:
        stepper: whose module it is.
        handle, plan: what is read.
        look: ``seen`` or ``judged``.
        forward: instead of the module's own forward pass; its batches are not played.
        training: the module's mode.
    """
    stepper.placed.mode(training)
    batches, compute = stepper.batches(handle, plan), forward or stepper.forward

    def looked(batches: Batches, batch: int, count: int) -> Sequence[Tensor]:
        at = (batch, slice(count))
        with torch.inference_mode(), stepper.computing(count):
            outputs = compute(batches.inputs(*at), batches.positions(*at))
            return look(stepper, batches, at, outputs)

    counts = plan.counts.tolist()
    for first, number in stretches(counts):
        count, done = counts[first], 0
        if forward is None and stepper.plays(count):
            key = stepper.setup, look.__name__, training, shape(count, plan, batches)
            for some in _played(stepper, key, handle, batches, (first, number), count, looked):
                done += 1
                yield some
        for batch in range(first + done, first + number):
            yield looked(batches, batch, count)


def _played(
    stepper: Stepper,
    key: Hashable,
    handle: Examples,
    batches: Batches,
    which: tuple[int, int],
    count: int,
    looked: Looked,
) -> Iterator[Sequence[Tensor]]:
    """Yield what is wanted of the first batches of a stretch of equal ones: of all, or of none."""
    (first, number), recordings, done = which, stepper.recordings, 0
    recording = recordings.get(key, handle)
    if recording is None:
        if not recordings.may(key, handle):
            return
        found = looked(batches, first, count)
        yield found
        done = 1

        def work(one: Batches, out: Sequence[Tensor]) -> None:
            for mine, theirs in zip(out, looked(one, 0, count), strict=True):
                mine[0].copy_(theirs)

        with torch.inference_mode():
            like = [one.unsqueeze(0) for one in found]
            places = max(1, min(PLACES, BYTES // sum(one.nbytes for one in like)))
            recording = Captured(handle, batches, like, work, places=places, warm=WARM)
        recordings.put(key, recording)
    while done < number:
        some = min(number - done, recording.places)
        with torch.inference_mode():
            out = [one.new_empty(some, *one.shape[1:]) for one in recording.like]
            made = recordings.make(key, recording, batches, first + done, some, out, 0)
        for place in range(made):
            yield [one[place] for one in out]
        done += made
        if made < some:
            return
