"""What is executed, as arrays: the only thing that crosses from core to an adapter.

A plan says everything about K optimizer steps that could differ between frameworks: which rows in
which order, in how many shards, how each is cropped and flipped, the learning rate and every other
scalar of the update. An adapter adds nothing of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from paribus.draws import Floats
from paribus.noise import Keys

Integers = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Preprocess:
    """From stored examples to network inputs, on the device: ``value · scale − shift``.

    Attributes:
        scale, shift: one number per channel (per feature for tables), or one for all; texts have
            neither.
        crop: (height, width) of the input; None where the stored examples already have it.
        length: tokens of a text that the network reads, the first ones; None for all. Everything
            after them is padding, except for a causal language model, whose stored texts are one
            token longer (see ``TrainPlan``).
    """

    scale: tuple[float, ...] = (1.0,)
    shift: tuple[float, ...] = (0.0,)
    crop: tuple[int, int] | None = None
    length: int | None = None


@dataclass(frozen=True)
class Targets:
    """Core's draws for masked language modelling, for the rows of a plan; shapes [*indices, …].

    Attributes:
        tokens: int32 [..., T], what the network reads instead of the stored texts.
        positions: int64 [..., M], the places that are predicted; those past ``counts`` repeat one.
        labels: int64 [..., M], the tokens that belong there.
        counts: int64 [...], places of each row that count, from 1 to M.
    """

    tokens: Tokens
    positions: Integers
    labels: Integers
    counts: Integers


@dataclass(frozen=True)
class Augmentation:
    """Core's draws for the rows of a plan, each shaped like the plan's ``indices``.

    The crop window of a row starts at (top, left) of its stored image; positions outside of the
    image read as 0 (a black pixel, before normalisation). Flips reverse the cropped window.

    Attributes:
        top, left: int64; may be negative.
        flip_horizontal, flip_vertical: bool.
    """

    top: Integers
    left: Integers
    flip_horizontal: npt.NDArray[np.bool_]
    flip_vertical: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TrainPlan:
    """K optimizer steps of S shards of at most b rows.

    A step's gradient is Σ over its rows of ``weights`` · ∂loss(row)/∂w, summed shard by shard in
    order; a step's loss is the same sum of the rows' losses. ``weights`` already hold 1/n for a
    step of n real rows (of n predicted tokens for language models, w/Σw for classes of weight w),
    so nobody divides. BatchNorm normalises within a shard, and its running statistics are updated
    once per shard, in order.

    A row's loss, natural logarithms, with the task's objective:
        classification   cross-entropy of its label; with label smoothing ε of C classes,
                         (1 − ε)·that + (ε/C)·Σ over all classes of −log p (Szegedy et al. 2016)
        regression       mean over its outputs of (output − label)²
        masked_lm        Σ over its ``targets`` of the cross-entropy
        causal_lm        Σ over positions 0 … T − 1 of the cross-entropy of the stored token t + 1,
                         the network having read the first T = ``preprocess.length`` tokens

    Attributes:
        indices: int64 [K, S, b], rows of the dataset handle. Real rows come first in a shard.
        counts: int64 [K, S], real rows in each shard (≥ 1). Rows beyond are padding: their index
            is valid, their weight 0, and no statistic (BatchNorm's) may see them.
        weights: float64 [K, S, b].
        scalars: float64 [K] each, by name: what the update rule reads, and ``clip_norm`` where
            the task clips.
        preprocess: applied to every row.
        augmentation: None where nothing is drawn; then a crop is taken from the centre.
        targets: for masked language modelling, else None.
        noise: int32 [K, L, 2], each step's keys of the network's L ``noisy`` nodes, in their order
            (``paribus.noise``); None: nothing is dropped, as in evaluation.
    """

    indices: Integers
    counts: Integers
    weights: Floats
    scalars: dict[str, Floats]
    preprocess: Preprocess = Preprocess()
    augmentation: Augmentation | None = None
    targets: Targets | None = None
    noise: Keys | None = None

    @property
    def steps(self) -> int:
        """K."""
        return int(self.indices.shape[0])

    @property
    def full(self) -> bool:
        """Whether no row is padding."""
        return bool((self.counts == self.indices.shape[2]).all())

    def with_scalars(self, scalars: dict[str, Floats]) -> TrainPlan:
        """Return the same steps with other scalars, in a third of ``replace``'s time."""
        return TrainPlan(
            self.indices, self.counts, self.weights, scalars, self.preprocess, self.augmentation,
            self.targets, self.noise,
        )  # fmt: skip

    def first(self, count: int) -> TrainPlan:
        """Return the first ``count`` steps, or all where there are no more."""
        return self.taken(slice(count))

    def taken(self, steps: slice | Integers) -> TrainPlan:
        """Return some of the steps, by number; one may be there several times."""

        def some(part: Any) -> Any:
            arrays = None if part is None else {k: v[steps] for k, v in vars(part).items()}
            return None if arrays is None else type(part)(**arrays)

        return replace(
            self,
            indices=self.indices[steps],
            counts=self.counts[steps],
            weights=self.weights[steps],
            scalars={name: values[steps] for name, values in self.scalars.items()},
            augmentation=some(self.augmentation),
            targets=some(self.targets),
            noise=None if self.noise is None else self.noise[steps],
        )

    @property
    def examples(self) -> int:
        """Number of real rows in all steps."""
        return int(self.counts.sum())


@dataclass(frozen=True)
class EvalPlan:
    """M batches of at most b rows, in order; crops are taken from the centre.

    Attributes:
        indices: int64 [M, b]; counts: int64 [M], as in ``TrainPlan``.
        targets: as in ``TrainPlan``, shaped [M, b, …].
    """

    indices: Integers
    counts: Integers
    preprocess: Preprocess = Preprocess()
    targets: Targets | None = None

    def first(self, count: int) -> EvalPlan:
        """Return the first ``count`` batches, or all where there are no more."""
        targets = self.targets
        if targets is not None:
            targets = Targets(**{name: array[:count] for name, array in vars(targets).items()})
        return replace(
            self, indices=self.indices[:count], counts=self.counts[:count], targets=targets
        )


class Sums(NamedTuple):
    """What an evaluation adds up; dividing is the caller's, once, at the end.

    ``loss`` is the sum of the rows' losses as ``TrainPlan`` defines them. ``correct`` is the number
    of predictions whose largest logit is their label's (the first one among equals), 0 for
    regression; ``predictions`` how many there were: rows, or for language models tokens.
    """

    loss: float
    correct: int
    predictions: int


class StepResults(NamedTuple):
    """What K steps leave: losses float64 [K], gradient norms float64 [K] or None (not asked)."""

    losses: Floats
    gradient_norms: Floats | None


def center(stored: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int]:
    """Return (top, left) of a centre crop, rounded down; for evaluation on every backend."""
    return (stored[0] - crop[0]) // 2, (stored[1] - crop[1]) // 2


def even(rows: int, most: int) -> int:
    """Return the rows of a batch, at most ``most``, that cut ``rows`` as evenly as can be.

    There are as few batches as with ``most``, and fewer rows of padding than batches.
    """
    batches = max(1, -(-rows // max(1, most)))
    return max(1, -(-rows // batches))


def evaluation_plan(
    rows: Integers, batch_size: int, preprocess: Preprocess = Preprocess()
) -> EvalPlan:
    """Cut ``rows`` int64 [n] into batches of one size, the last one padded with its last row."""
    batch = max(1, min(batch_size, len(rows)))
    count = -(-len(rows) // batch)
    padded = np.pad(rows, (0, count * batch - len(rows)), mode="edge")
    counts = np.full(count, batch, dtype=np.int64)
    counts[-1] = len(rows) - (count - 1) * batch
    return EvalPlan(padded.reshape(count, batch), counts, preprocess)


def narrowed(plan: EvalPlan, rows: int) -> EvalPlan:
    """Return a plan of the same rows in the same order, with batches of at most ``rows`` rows."""
    batches, width = plan.indices.shape
    parts = -(-width // rows)
    counts = np.clip(plan.counts[:, None] - rows * np.arange(parts), 0, rows).ravel()

    def cut(array: Any) -> Any:
        more = [(0, 0), (0, parts * rows - width), *[(0, 0)] * (array.ndim - 2)]
        padded = np.pad(array, more, mode="edge")
        return padded.reshape(batches * parts, rows, *array.shape[2:])[counts > 0]

    targets = plan.targets
    if targets is not None:
        targets = Targets(**{name: cut(array) for name, array in vars(targets).items()})
    return replace(plan, indices=cut(plan.indices), counts=counts[counts > 0], targets=targets)
