"""How the rows of a data set become what a network reads and what it is judged by.

One object for training and evaluation, so that both see the same: preprocessing, what each example
weighs, how far texts are padded, and which of their tokens are predicted. Everything is a function
of the row, the epoch and the position in it; nothing is carried along.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from paribus.architectures import LANGUAGE, Objective
from paribus.draws import Floats
from paribus.plan import (
    Augmentation,
    EvalPlan,
    Integers,
    Preprocess,
    Targets,
    evaluation_plan,
    even,
)


class Augment(Protocol):
    """Draws for all positions of one epoch, or None where nothing is random."""

    def __call__(self, epoch: int, order: Integers) -> Augmentation | None:
        """Return arrays shaped like ``order``, the rows in the epoch's order."""


class Mask(Protocol):
    """What a masked language model predicts of some rows."""

    def __call__(self, rows: Integers, epoch: int | None, positions: Integers) -> Targets:
        """Return targets shaped [*rows.shape, …].

        ``positions`` say where each row stands in the epoch's order. Without an epoch (in an
        evaluation) they depend on the row alone, so that every evaluation asks the same.
        """


def _unchanged(epoch: int, order: Integers) -> Augmentation | None:
    return None


@dataclass(frozen=True)
class Inputs:
    """The reading of one data set in one training.

    Attributes:
        objective: what the network is trained for.
        preprocess: applied to every row; for texts its length is the longest width.
        augment: the draws of an epoch.
        copies: how many draws each row has, one after the other and over again; None where every
            epoch has its own.
        lengths: int64 [N], tokens of each row of the data set; None for other data.
        widths: the lengths that a batch of texts may be padded to, ascending.
        row_weights: float64 [N], what each row weighs in the loss; None for 1.
        mask: for masked language models.
    """

    objective: Objective = "classification"
    preprocess: Preprocess = field(default_factory=Preprocess)
    augment: Augment = _unchanged
    copies: int | None = None
    lengths: Integers | None = None
    widths: tuple[int, ...] = ()
    row_weights: Floats | None = None
    mask: Mask | None = None

    def all_copies(self, rows: Integers) -> list[Augmentation]:
        """Return the draws of every copy of ``rows``; none where there are no copies."""
        found = [self.augment(copy, rows) for copy in range(self.copies or 0)]
        return [draws for draws in found if draws is not None]

    def width(self, rows: Integers) -> int | None:
        """Return the smallest width that fits every one of ``rows``; None for other data."""
        if self.lengths is None:
            return self.preprocess.length
        return self.widths[int(np.searchsorted(self.widths, self.lengths[rows].max()))]

    def predictions(self, rows: Integers, targets: Targets | None, width: int | None) -> Floats:
        """Return what each row counts for in a mean loss; float64, shaped like ``rows``.

        That is its weight, or for language models the number of its predicted tokens.
        """
        if targets is not None:
            return targets.counts.astype(np.float64)
        if self.objective == "causal_lm" and width is not None:
            return np.full(rows.shape, float(width))
        return np.ones(rows.shape) if self.row_weights is None else self.row_weights[rows]

    def preprocessing(self, width: int | None) -> Preprocess:
        """Return the preprocessing for a batch of texts of ``width``; of other data, the one."""
        stated = self.preprocess
        if width == stated.length:
            return stated
        return Preprocess(stated.scale, stated.shift, stated.crop, width)

    def evaluation(self, rows: Integers, batch: int) -> list[EvalPlan]:
        """Return plans over ``rows`` int64 [n], each of one width; texts in order of their width.

        Rows of the same width stay in their order.
        """
        if self.lengths is None or self.objective in LANGUAGE:
            return [self._evaluation(rows, batch, self.preprocess.length)] if len(rows) else []
        fits = np.searchsorted(self.widths, self.lengths[rows])
        return [
            self._evaluation(rows[fits == place], batch, self.widths[place])
            for place in np.unique(fits)
        ]

    def _evaluation(self, rows: Integers, batch: int, width: int | None) -> EvalPlan:
        plan = evaluation_plan(rows, even(len(rows), batch), self.preprocessing(width))
        if self.mask is None:
            return plan
        targets = self.mask(plan.indices, None, plan.indices)
        return EvalPlan(plan.indices, plan.counts, plan.preprocess, targets)
