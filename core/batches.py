"""Which rows train in which step: epochs cut into plans, each computable without those before.

An incomplete last batch gets a plan of its own with a smaller shape, so that nothing is padded in
the common case: padding would have to be kept out of BatchNorm's statistics. A last batch of a
single row is left out (as with ``last_batch = "drop"``): BatchNorm cannot normalise one value, and
frameworks choose other kernels for one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from paribus import draws
from paribus.draws import Floats
from paribus.errors import SpecError
from paribus.optimizers import RULES
from paribus.plan import Augmentation, Integers, Preprocess, TrainPlan
from paribus.schedules import learning_rates
from paribus.spec.training import GradientDescent, Recipe


class Augment(Protocol):
    """Draws for all positions of one epoch, or None where nothing is random."""

    def __call__(self, epoch: int, count: int) -> Augmentation | None:
        """Return arrays [count]; position i of the epoch's order gets entry i."""


@dataclass(frozen=True)
class Schedule:
    """The optimizer steps of one training: a pure function of (seed, stream, step).

    Attributes:
        recipe: the spec's recipe; ``epochs`` replaces its number of epochs.
        rows: int64 [n], rows of the dataset handle that train.
        seed, stream: what the order and the augmentation are drawn from.
        preprocess, augment: how rows become inputs.
    """

    recipe: Recipe
    epochs: int
    rows: Integers
    seed: int
    stream: str
    preprocess: Preprocess
    augment: Augment

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
        count = len(self.rows)
        order = (
            self.rows
            if self._whole
            else self.rows[draws.permutation(self.seed, f"{self.stream}/order", epoch, count)]
        )
        return Epoch(self, epoch, order, self.augment(epoch, count))

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

        It ends early where the next step has another shape.
        """
        sizes = self.schedule.sizes
        size = sizes[start]
        stop = start + 1
        while stop < min(len(sizes), start + limit) and sizes[stop] == size:
            stop += 1
        K = stop - start
        shard_counts = self.schedule.shard_counts(size)
        S, b = len(shard_counts), int(shard_counts[0])
        # Only the last step of an epoch differs in size, so all before `start` have sizes[0].
        offset = start * sizes[0]
        # Positions in the epoch's order [K, S, b]; a padded place repeats its shard's last row.
        within = np.minimum(np.arange(b)[None, :], shard_counts[:, None] - 1)
        begins = np.concatenate(([0], np.cumsum(shard_counts)[:-1]))[:, None]
        position = offset + np.arange(K)[:, None, None] * size + (begins + within)[None]
        real = np.arange(b)[None, :] < shard_counts[:, None]
        weights = np.broadcast_to(np.where(real, 1.0 / size, 0.0), (K, S, b))
        first = self.number * self.schedule.steps_per_epoch + start
        return TrainPlan(
            indices=self.order[position],
            counts=np.broadcast_to(shard_counts, (K, S)).copy(),
            weights=weights.copy(),
            scalars=self.schedule.scalars(first, K),
            preprocess=self.schedule.preprocess,
            augmentation=_at(self.augmentation, position),
        )


def _at(augmentation: Augmentation | None, position: Integers) -> Augmentation | None:
    if augmentation is None:
        return None
    arrays: Mapping[str, np.ndarray] = vars(augmentation)
    return Augmentation(**{name: array[position] for name, array in arrays.items()})
