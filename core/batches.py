"""Which rows train in which step: epochs cut into plans, each computable without those before.

An incomplete last batch gets a plan of its own with a smaller shape, so that nothing is padded in
the common case: padding would have to be kept out of BatchNorm's statistics. A last batch of a
single row is left out (as with ``last_batch = "drop"``): BatchNorm cannot normalise one value, and
frameworks choose other kernels for one row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from paribus import draws, noise
from paribus.architectures import LANGUAGE
from paribus.draws import Floats
from paribus.errors import SpecError
from paribus.inputs import Inputs
from paribus.noise import Keys
from paribus.optimizers import RULES
from paribus.plan import Augmentation, Integers, TrainPlan
from paribus.schedules import learning_rates
from paribus.spec.training import GradientDescent, Recipe

# Batches that are sorted by length at a time: enough for little padding, and still well mixed.
SORTED_BATCHES = 50
# Steps whose scalars are computed in one go: a plan of few steps costs as much as one of many.
SCALARS = 512


class Shared:
    """The plans of one epoch but for their scalars, for schedules that draw the same batches.

    The trials of a search train on the same batches in the same order: what the first one asks for
    is drawn, and the others are handed the same arrays.
    """

    def __init__(self) -> None:
        self._number = -1
        self._plans: dict[tuple[int, int], TrainPlan] = {}
        self._epoch: Epoch | None = None

    def epoch(self, number: int, draw: Callable[[], Epoch]) -> Epoch:
        """Return an epoch, drawn where it is not the last one that was asked for."""
        if self._epoch is None or self._number != number:
            self._number, self._epoch, self._plans = number, draw(), {}
        return self._epoch

    def plan(self, number: int, start: int, limit: int, make: Callable[[], TrainPlan]) -> TrainPlan:
        """Return a plan of an epoch; its scalars are whoever's was first."""
        if number != self._number:
            return make()
        if (start, limit) not in self._plans:
            self._plans[start, limit] = make()
        return self._plans[start, limit]


@dataclass(frozen=True)
class Schedule:
    """The optimizer steps of one training: a pure function of (seed, stream, step).

    Attributes:
        recipe: the spec's recipe; ``epochs`` replaces its number of epochs.
        rows: int64 [n], rows of the dataset handle that train.
        seed, stream: what the order and the augmentation are drawn from.
        inputs: how rows become inputs and targets.
        noisy: nodes of the network that drop values; each has a key in every step.
        shared: what schedules of equal ``batches`` have drawn; None for one that is alone.
    """

    recipe: Recipe
    epochs: int
    rows: Integers
    seed: int
    stream: str
    inputs: Inputs
    noisy: int = 0
    shared: Shared | None = field(default=None, compare=False)

    @property
    def batches(self) -> tuple[Any, ...]:
        """What decides about the batches of images and tables without augmentation."""
        recipe, inputs = self.recipe, self.inputs
        weights = None if inputs.row_weights is None else inputs.row_weights.tobytes()
        size = self._whole, recipe.batch_size, recipe.shards, recipe.last_batch
        rows = self.rows.tobytes()
        return self.seed, self.stream, rows, size, self.noisy, inputs.preprocess, weights

    def __post_init__(self) -> None:
        if not self.sizes:
            raise SpecError(
                f"no training step is left: {len(self.rows)} training rows with "
                f"batch_size = {self.recipe.batch_size} and last_batch = "
                f"{self.recipe.last_batch!r}; use a smaller batch_size or last_batch = 'keep'"
            )

    @property
    def _whole(self) -> bool:
        return isinstance(self.recipe.optimizer, GradientDescent)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Rows in each optimizer step of an epoch."""
        rows, batch = len(self.rows), self.recipe.batch_size
        if self._whole:
            return (rows,) if rows else ()
        full, rest = divmod(rows, batch)
        keep = rest >= 2 and self.recipe.last_batch == "keep"
        return (batch,) * full + ((rest,) if keep else ())

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        return len(self.sizes)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of all epochs."""
        return self.epochs * self.steps_per_epoch

    def epoch(self, epoch: int) -> Epoch:
        """Return the plans of one epoch, counted from 0."""
        if self.shared is None:
            return self._epoch(epoch)
        return replace(self.shared.epoch(epoch, lambda: self._epoch(epoch)), schedule=self)

    def _epoch(self, epoch: int) -> Epoch:
        count = len(self.rows)
        order = (
            self.rows
            if self._whole
            else self.rows[draws.permutation(self.seed, f"{self.stream}/order", epoch, count)]
        )
        if self.recipe.group_by_length and self.inputs.lengths is not None:
            order = self._grouped(order, epoch)
        return Epoch(self, epoch, order, self.inputs.augment(epoch, order))

    def _grouped(self, order: Integers, epoch: int) -> Integers:
        """Sort stretches of an order by length, and put their batches back into a drawn order."""
        lengths, batch = self.inputs.lengths, self.sizes[0]
        assert lengths is not None
        # What does not fill a batch stays behind as it was drawn, be it used or left out.
        full = len(order) // batch
        whole, rest = order[: full * batch], order[full * batch :]
        stretch = batch * SORTED_BATCHES
        parts = [whole[start : start + stretch] for start in range(0, len(whole), stretch)]
        ordered = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts])
        drawn = draws.permutation(self.seed, f"{self.stream}/batches", epoch, full)
        return np.concatenate([ordered.reshape(full, batch)[drawn].ravel(), rest])

    def totals(self, plan: TrainPlan) -> Floats:
        """Return what each step's loss is a mean over, float64 [K]: examples, weights or tokens."""
        rows, targets, inputs = plan.indices, plan.targets, self.inputs
        if targets is None and inputs.objective not in LANGUAGE and inputs.row_weights is None:
            return np.asarray(plan.counts.sum(axis=1), dtype=np.float64)
        counted = self.inputs.predictions(rows, targets, plan.preprocess.length)
        real = np.arange(rows.shape[2]) < plan.counts[..., None]
        return np.asarray((counted * real).sum(axis=(1, 2)))

    def shard_counts(self, size: int) -> Integers:
        """Return the rows in each shard of a step of ``size`` rows, as even as possible.

        A small last batch uses fewer shards rather than shards of a single row.
        """
        if self._whole:
            shards = -(-size // self.recipe.batch_size)
        else:
            shards = max(1, min(self.recipe.shards, size // 2))
        counts = np.full(shards, size // shards, dtype=np.int64)
        counts[: size % shards] += 1
        return counts

    def scalars(self, first: int, count: int) -> dict[str, Floats]:
        """Return every per-step scalar of ``count`` steps from step ``first``; float64 [count]."""
        block, start = divmod(first, SCALARS)
        if start + count > SCALARS:
            return self._scalars(first, count)
        if block not in self._known:
            self._known.clear()
            length = min(SCALARS, self.total_steps - block * SCALARS)
            self._known[block] = self._scalars(block * SCALARS, length)
        return {name: a[start : start + count] for name, a in self._known[block].items()}

    @cached_property
    def _known(self) -> dict[int, dict[str, Floats]]:
        """The scalars of the steps around those that were asked for last."""
        return {}

    def _scalars(self, first: int, count: int) -> dict[str, Floats]:
        recipe, optimizer = self.recipe, self.recipe.optimizer
        rates = learning_rates(
            recipe.schedule,
            optimizer.learning_rate,
            first,
            count,
            self.steps_per_epoch,
            self.total_steps,
        )
        t = np.arange(first + 1, first + count + 1, dtype=np.float64)
        scalars = RULES[optimizer.rule].coefficients(optimizer.values(), rates, t)
        if recipe.clip_norm is not None:
            scalars["clip_norm"] = np.full(count, recipe.clip_norm)
        return scalars


@dataclass(frozen=True)
class Epoch:
    """One epoch's order and draws, cut into plans on demand."""

    schedule: Schedule
    number: int
    order: Integers
    augmentation: Augmentation | None

    def plan(self, start: int, limit: int) -> TrainPlan:
        """Return a plan of at most ``limit`` steps from step ``start`` of this epoch.

        It ends early where the next step has another shape: fewer rows, or longer texts.
        """
        schedule = self.schedule
        if schedule.shared is None:
            return self._plan(start, limit)
        known = schedule.shared.plan(self.number, start, limit, lambda: self._plan(start, limit))
        first = self.number * schedule.steps_per_epoch + start
        return known.with_scalars(schedule.scalars(first, known.steps))

    def _plan(self, start: int, limit: int) -> TrainPlan:
        schedule, inputs = self.schedule, self.schedule.inputs
        sizes = schedule.sizes
        size = sizes[start]
        width = self._width(start)
        stop = start + 1
        while stop < min(len(sizes), start + limit) and (sizes[stop], self._width(stop)) == (
            size, width
        ):  # fmt: skip
            stop += 1
        K = stop - start
        shard_counts = schedule.shard_counts(size)
        S, b = len(shard_counts), int(shard_counts[0])
        # Only the last step of an epoch differs in size, so all before `start` have sizes[0].
        offset = start * sizes[0]
        # Positions in the epoch's order [K, S, b]; a padded place repeats its shard's last row.
        within = np.minimum(np.arange(b)[None, :], shard_counts[:, None] - 1)
        begins = np.concatenate(([0], np.cumsum(shard_counts)[:-1]))[:, None]
        position = offset + np.arange(K)[:, None, None] * size + (begins + within)[None]
        rows = self.order[position]
        targets = None if inputs.mask is None else inputs.mask(rows, self.number, position)
        real = np.arange(b)[None, :] < shard_counts[:, None]
        counted = np.where(real, inputs.predictions(rows, targets, width), 0.0)
        # A row of a language model weighs as much per token as any other.
        each = counted if inputs.objective not in LANGUAGE else np.where(real, 1.0, 0.0)
        first = self.number * schedule.steps_per_epoch + start
        return TrainPlan(
            indices=rows,
            counts=np.broadcast_to(shard_counts, (K, S)).copy(),
            weights=np.broadcast_to(each, (K, S, b)) / counted.sum(axis=(1, 2), keepdims=True),
            scalars=schedule.scalars(first, K),
            preprocess=inputs.preprocessing(width),
            augmentation=_at(self.augmentation, position),
            targets=targets,
            noise=self._noise(first, K),
        )

    def _noise(self, first: int, count: int) -> Keys | None:
        schedule = self.schedule
        if not schedule.noisy:
            return None
        return noise.keys(schedule.seed, schedule.stream, first, count, schedule.noisy)

    def _width(self, step: int) -> int | None:
        """Return the length that a step's texts are padded to."""
        sizes, inputs = self.schedule.sizes, self.schedule.inputs
        if inputs.lengths is None:
            return inputs.preprocess.length
        start = step * sizes[0]
        return inputs.width(self.order[start : start + sizes[step]])


def _at(augmentation: Augmentation | None, position: Integers) -> Augmentation | None:
    if augmentation is None:
        return None
    arrays: Mapping[str, np.ndarray] = vars(augmentation)
    return Augmentation(**{name: array[position] for name, array in arrays.items()})
